// What the browser tells about the device, reduced to what a table needs: no user agent leaves the page whole.

const BROWSERS = [
  ["Edge", /\bEdgA?\/([\d.]+)|\bEdgiOS\/([\d.]+)/],
  ["Samsung Internet", /\bSamsungBrowser\/([\d.]+)/],
  ["Opera", /\bOPR\/([\d.]+)/],
  ["Firefox", /\bFirefox\/([\d.]+)|\bFxiOS\/([\d.]+)/],
  ["Chrome", /\bCriOS\/([\d.]+)|Chrome\/([\d.]+)/],
  ["Safari", /\bVersion\/([\d.]+).*\bSafari\//],
];
const PLATFORMS = [
  ["Android", /\bAndroid(?: (\d[\d.]*))?/],
  ["iOS", /\b(?:iPhone|iPod|iPad).*? OS (\d[\d_]*)/],
  ["Windows", /\bWindows NT/],
  ["ChromeOS", /\bCrOS\b/],
  ["macOS", /\bMac OS X/],
  ["Linux", /\bLinux\b/],
];

const find = (table, text) => {
  for (const [name, pattern] of table) {
    const found = text.match(pattern);
    if (found) return [name, (found[1] ?? found[2] ?? "").replaceAll("_", ".")];
  }
  return ["", ""];
};

// Chrome freezes the text at "Android 10; K" for everybody: that version says nothing
const readUserAgent = (text) => {
  const [platform, version] = find(PLATFORMS, text);
  const [browser, browserVersion] = find(BROWSERS, text);
  const isFrozen = /Android 10; K\b/.test(text);
  // an iPad calls itself a Mac; no Mac has a touch screen
  const isTablet = platform === "macOS" && navigator.maxTouchPoints > 1;
  return { platform: isTablet ? "iPadOS" : platform, platformVersion: isFrozen ? "" : version, browser, browserVersion };
};

const readHints = async () => {
  const hints = navigator.userAgentData;
  if (!hints) return {};
  const asked = ["architecture", "bitness", "fullVersionList", "model", "platformVersion"];
  const told = await hints.getHighEntropyValues(asked).catch(() => ({}));
  const brands = (told.fullVersionList ?? hints.brands ?? []).filter(({ brand }) => !/not.?a.?brand/i.test(brand.replace(/\W/g, "")));
  const brand = brands.find(({ brand }) => brand !== "Chromium") ?? brands[0];
  const bits = told.bitness ? `${told.architecture}-${told.bitness}` : told.architecture;
  return {
    platform: hints.platform,
    platformVersion: told.platformVersion,
    architecture: bits,
    model: told.model,
    ...(brand ? { browser: brand.brand, browserVersion: brand.version } : {}),
  };
};

const describeGpu = async () => {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) return null;
  const { vendor, architecture, description } = adapter.info ?? {};
  return [vendor, description || architecture].filter(Boolean).join(" ") || "unnamed";
};

// The smallest step that the clock is seen to make; browsers round it, more so without cross-origin isolation.
const measureResolution = () => {
  const end = performance.now() + 50;
  let smallest = Infinity;
  for (let last = performance.now(); last < end;) {
    const now = performance.now();
    if (now > last) smallest = Math.min(smallest, now - last);
    last = now;
  }
  return Number.isFinite(smallest) ? smallest : 50;
};

export const describeDevice = async (supportsFeature) => {
  const told = Object.fromEntries(Object.entries(await readHints()).filter(([, value]) => value));
  const canThread = self.crossOriginIsolated && (await supportsFeature("relaxedSimd")) && (await supportsFeature("threads"));
  return {
    ...readUserAgent(navigator.userAgent),
    ...told,
    cores: navigator.hardwareConcurrency ?? 0,
    memoryGib: navigator.deviceMemory ?? 0,
    gpu: (await describeGpu()) ?? "",
    isSecure: self.isSecureContext,
    isIsolated: self.crossOriginIsolated === true,
    canThread,
    resolutionMs: measureResolution(),
  };
};
