// Asks the computer what to do next, does it, and sends what came out: nothing is decided here, so that a reload
// loses one step at most.

import { supportsFeature } from "@litertjs/core";
import { describeDevice } from "./device.js";
import { Runner, runBlock, splitInputs } from "./runner.js";

const element = (id) => document.getElementById(id);
const KEY = `edgegender ${location.pathname}`;
const ATTEMPTS = 6;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const show = (text, detail = "") => {
  element("step").textContent = text;
  element("detail").textContent = detail;
};

class Refused extends Error {}

const ask = async (path, options = {}) => {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const response = await fetch(path, { cache: "no-store", ...options });
      if (response.ok) return response;
      const text = await response.text();
      if (response.status < 500) throw new Refused(text || `The computer answered ${response.status}.`);
      throw new Error(text);
    } catch (error) {
      if (error instanceof Refused || attempt === ATTEMPTS) throw error;
      await pause(250 * 2 ** attempt); // a phone changes its network, or sleeps
    }
  }
};
const post = async (path, value) => {
  const body = JSON.stringify(value);
  return (await ask(path, { method: "POST", body, headers: { "Content-Type": "application/json" } })).json();
};
const bytesOf = async (path) => new Uint8Array(await (await ask(path)).arrayBuffer());

// How often the page was hidden: a block of runs counts only when this stayed the same.
let timesHidden = 0;
let lock = null;
const keepAwake = async () => {
  if (document.visibilityState !== "visible" || !navigator.wakeLock) return;
  lock = await navigator.wakeLock.request("screen").catch(() => null);
};
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") timesHidden += 1;
  else if (lock) keepAwake();
});
// A page that is left or loaded anew breaks off what is under way: that is no failure of the step.
let isLeaving = false;
addEventListener("beforeunload", () => { isLeaving = true; });
addEventListener("pagehide", () => { isLeaving = true; });
addEventListener("pageshow", () => { isLeaving = false; });
const untilVisible = async () => {
  while (document.visibilityState === "hidden") {
    await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  }
  await pause(0);
};

class Session {
  constructor({ device, models }) {
    this.device = device;
    this.models = models;
    this.contents = new Map();
    this.runner = null;
  }

  report(step, kind, values) {
    return post(`api/devices/${this.device}/report`, { step, kind, ...values });
  }

  async load(step) {
    const key = Runner.keyOf(step);
    if (this.runner?.key === key) return this.runner;
    this.runner?.delete();
    this.runner = null;
    if (!this.contents.has(step.model)) this.contents.set(step.model, await bytesOf(`api/models/${step.model}`));
    const runner = new Runner(this.models[step.model], key);
    await runner.load(step, this.contents.get(step.model));
    this.runner = runner;
    return runner;
  }

  inputs(step, which, start, count) {
    const path = `api/models/${step.model}/${which}/${start}/${count}`;
    return bytesOf(path).then((bytes) => splitInputs(bytes, this.models[step.model]));
  }

  async measure(step) {
    const inputs = await this.inputs(step, "speed", 0, this.models[step.model].numSpeed);
    this.runner?.delete(); // load and first run are measured anew
    this.runner = null;
    const runner = await this.load(step);
    const [, firstMs] = await runner.run(inputs[0]);
    const expected = await runner.answer(inputs);
    const { loadMs, isPartly } = runner;
    let told = await this.report(step, "start", { loadMs, firstMs, isPartly, answers: expected });
    let done = 0;
    while (told.phase) {
      await untilVisible();
      const before = timesHidden;
      const block = await runBlock(runner, inputs, expected, { start: done, seconds: told.seconds, most: told.most });
      await pause(0); // what happened meanwhile is told now
      const isHidden = timesHidden !== before || document.visibilityState === "hidden";
      told = await this.report(step, "block", { ...block, phase: told.phase, isHidden });
      done += block.latencies.length;
      if (told.progress !== undefined) element("progress").value = told.progress;
    }
  }

  async answer(step) {
    const runner = await this.load(step);
    const inputs = await this.inputs(step, step.kind === "golden" ? "golden" : "samples", step.start, step.count);
    await untilVisible();
    await this.report(step, step.kind, { answers: await runner.answer(inputs) });
  }

  async work(step) {
    const model = this.models[step.model];
    const name = `${model.name}, ${step.engine}${step.engine === "wasm" ? `, ${step.threads} thread${step.threads > 1 ? "s" : ""}` : ""}`;
    element("progress").value = step.progress;
    if (step.kind === "speed") {
      show("Measuring the speed", name);
      await pause(50); // let the page be painted
      await this.measure(step);
    } else {
      show(step.kind === "golden" ? "Checking the answers" : `Answering for photo ${step.start + 1} of ${model.numSamples}`, name);
      await this.answer(step);
    }
  }

  async run() {
    for (;;) {
      const { step } = await post(`api/devices/${this.device}/next`, {});
      if (!step) return;
      try {
        await this.work(step);
      } catch (error) {
        if (error instanceof Refused || isLeaving) throw error;
        this.runner = null;
        await this.report(step, "failed", { message: String(error?.message ?? error).slice(0, 300) });
      }
    }
  }
}

const remember = (value) => {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(value));
  } catch {
    // private mode: a reload starts anew
  }
};
const recall = () => {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  } catch {
    return null;
  }
};

const start = async (name, device) => {
  element("setup").hidden = true;
  element("running").hidden = false;
  await keepAwake();
  try {
    const about = await describeDevice(supportsFeature);
    element("device").textContent = [
      `${about.platform} ${about.platformVersion}`.trim(),
      `${about.browser} ${about.browserVersion}`.trim(),
      `${about.cores} cores`,
      about.isIsolated ? "isolated" : "not isolated: no threads, no GPU, a coarse clock",
      about.gpu ? "WebGPU" : "no WebGPU",
    ].filter(Boolean).join(" · ");
    const session = new Session(await post("api/devices", { name, device, about }));
    remember({ name, device: session.device });
    await session.run();
    remember(null);
    element("progress").value = 1;
    element("running").hidden = true;
    element("done").hidden = false;
  } catch (error) {
    element("running").hidden = true;
    element("problem").textContent = `${error.message} Reload the page to go on.`;
    element("problem").hidden = false;
  } finally {
    lock?.release().catch(() => {});
    lock = null;
  }
};

if (!navigator.wakeLock) {
  element("screen-hint").textContent = "Leave this page in front until it is done, and touch the screen before it goes dark.";
}
element("start").addEventListener("click", () => start(element("name").value.trim(), null));
const earlier = recall();
if (earlier) start(earlier.name, earlier.device);
