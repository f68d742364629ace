// What the page shows comes from /v1/state once a second, /v1/events as it happens, and /stream.mjpg.
"use strict";

const POLL_MS = 1000;
const FINE_PX = 1600; // the longest side of a photo that is shown; the whole photo is sent
const COUNTER_NAMES = {
  frames: "Frames", drops: "Dropped for newer ones", stalls: "Stalls", losses: "Losses",
  reconnects: "Came back", damaged: "Damaged frames",
};
const STATE_NAMES = { opening: "Opening the source…", running: "Running", lost: "Source lost", finished: "Finished" };

const find = (id) => document.getElementById(id);
let events = null;
let isPaused = false;
let isOnline = false;
let isModelShown = false;
let maxUploadBytes = null;

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text; // a status is read out each time that it is set
}

function showStatus(kind, text) {
  find("status").dataset.kind = kind;
  setText(find("status"), text);
}

function percent(share) {
  return `${(100 * share).toFixed(0)}\u00a0%`;
}

function milliseconds(value) {
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)}\u00a0ms`;
}

function showRows(list, rows) {
  const text = JSON.stringify(rows);
  if (list.dataset.shown === text) return;
  list.dataset.shown = text;
  list.replaceChildren(...rows.map(([name, value]) => {
    const row = make("div");
    row.append(make("dt", name), make("dd", String(value)));
    return row;
  }));
}

// The live picture

function closeLive() {
  find("picture").removeAttribute("src");
  if (events) events.close();
  events = null;
}

function openPicture() {
  if (isPaused || document.hidden) return;
  find("picture").src = `stream.mjpg?${Date.now()}`; // a new address each time: nothing is taken from before
}

function openEvents() {
  if (events || document.hidden) return;
  events = new EventSource("v1/events");
  events.addEventListener("faces", (message) => showFaces(JSON.parse(message.data)));
  events.onerror = () => {
    if (!events || events.readyState !== EventSource.CLOSED) return; // it tries again by itself
    events = null; // the next state opens it again
  };
}

function showFaces(event) {
  const faces = event.faces;
  setText(find("num-faces"), String(faces.length));
  find("no-faces").hidden = faces.length > 0;
  find("faces").hidden = faces.length === 0;
  find("faces").tBodies[0].replaceChildren(...faces.map((face) => {
    const row = make("tr");
    const score = make("td");
    const line = make("div", undefined, "score");
    const meter = make("meter");
    meter.value = face.score;
    meter.setAttribute("aria-label", `score of track ${face.track_id}`);
    line.append(make("span", percent(face.score)), meter);
    score.append(line);
    const label = face.is_unsure ? make("td", "unsure", "unsure") : make("td", face.predicted_label);
    row.append(make("td", `#${face.track_id}`), label, score, make("td", describeAnswer(face), "quiet"));
    return row;
  }));
}

function describeAnswer(face) {
  const frames = `${face.num_classified}\u00a0frame${face.num_classified === 1 ? "" : "s"}`;
  return `${face.is_fresh ? "fresh" : "kept"} · ${face.is_settled ? "settled" : frames}`;
}

// The state

function showAge(isStale) {
  find("camera").classList.toggle("stale", isStale);
  setText(find("faces-when"), isStale ? "last seen" : "now");
}

function showCamera(camera) {
  find("camera").hidden = false;
  find("camera").classList.toggle("counts-only", camera.is_aggregate_only);
  showAge(!camera.is_healthy);
  const source = camera.source;
  const state = source ? source.state : "running";
  const kind = state === "running" ? "good" : "wait";
  const isSilent = state === "running" && !camera.is_healthy;
  showStatus(camera.is_healthy ? kind : "bad", isSilent ? "No frames" : STATE_NAMES[state]);
  setText(find("source"), source ? source.name : "");
  const problem = (source && source.problem) || camera.trouble;
  find("problem").hidden = !problem;
  setText(find("problem"), problem || "");
  find("live").hidden = camera.is_aggregate_only;
  find("faces-card").hidden = camera.is_aggregate_only;
  setText(find("fps"), camera.fps.toFixed(1));
  setText(find("latency"), camera.latency_ms === null ? "–" : milliseconds(camera.latency_ms));
  showRows(find("stages"), Object.entries(camera.stage_ms).map(([stage, value]) => [stage, milliseconds(value)]));
  const people = Object.entries(camera.people);
  showRows(find("people"), people.length ? people : [["so far", 0]]);
  const counters = source ? Object.entries(source.counters) : [];
  const rows = counters.map(([key, value]) => [COUNTER_NAMES[key] || key, value]);
  showRows(find("counters"), [...rows, ["Viewers", camera.viewers]]);
  openEvents();
}

async function showModel() {
  const answer = await fetch("v1/model");
  if (!answer.ok) return;
  const model = await answer.json();
  const accuracy = model.accuracy;
  const share = (value) => (100 * value).toFixed(1);
  showRows(find("model"), [
    ["Name", model.name || "–"],
    ["Labels", model.labels.join(", ")],
    ["Network", `${model.architecture}, ${model.scheme}, ${model.input_size_px} px`],
    ["Accuracy", accuracy ? `${share(accuracy.value)} % (${share(accuracy.low)} to ${share(accuracy.high)})` : "not measured"],
    ["Unsure below", percent(model.unsure_below)],
    ["License", model.license || "–"],
    ["sha256", `${model.sha256.slice(0, 12)}…`],
  ]);
  find("intended-use").textContent = model.intended_use;
  find("model-card").hidden = false;
  isModelShown = true;
}

async function poll() {
  try {
    if (!document.hidden) await update();
  } catch {
    goOffline("Server not reached: trying again…");
  }
  setTimeout(poll, POLL_MS);
}

async function update() {
  const answer = await fetch("v1/state", { cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (!answer.ok) {
    goOffline(answer.status === 401 ? "Another token is needed: open the new address" : `Server answers ${answer.status}`);
    return;
  }
  const state = await answer.json();
  const wasOnline = isOnline;
  isOnline = true;
  maxUploadBytes = state.max_upload_bytes;
  find("try").hidden = maxUploadBytes === null;
  setText(find("version"), `edgegender ${state.version}`);
  if (state.camera) {
    showCamera(state.camera);
    const isUnseen = !wasOnline || state.camera.viewers === 0; // it was cut off, and comes back
    if (isUnseen && !state.camera.is_aggregate_only) openPicture();
  } else {
    showStatus("good", "Ready for photos");
  }
  if (maxUploadBytes !== null && !isModelShown) await showModel();
}

function goOffline(text) {
  showStatus("bad", text);
  showAge(true);
  if (isOnline) closeLive();
  isOnline = false;
}

// A photo

function showAnswer(...elements) {
  find("answer").replaceChildren(...elements);
}

function showProblem(error, hint) {
  showAnswer(make("p", error, "bad"), make("p", hint, "quiet"));
}

async function classify(file) {
  find("photo").hidden = true;
  if (maxUploadBytes !== null && file.size > maxUploadBytes) {
    showProblem(`The photo has ${(file.size / 1e6).toFixed(1)} MB; at most ${maxUploadBytes / 1e6} MB are taken.`, "");
    return;
  }
  showAnswer(make("p", "Looking…", "quiet"));
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  const answer = await fetch("v1/predict", { method: "POST", body: file, headers });
  const found = await answer.json();
  if (!answer.ok) {
    showProblem(found.error, found.hint);
    return;
  }
  const faces = found.faces;
  const list = make("ol");
  list.append(...faces.map((face) => make("li", describeFace(face))));
  if (faces.length > 1) showAnswer(make("p", `${faces.length} faces`), list);
  else showAnswer(make("p", faces.length ? describeFace(faces[0]) : "No face found."));
  await drawPhoto(file, faces);
}

function describeFace(face) {
  return face.is_unsure
    ? `unsure (${face.predicted_label} ${percent(face.score)})`
    : `${face.predicted_label} ${percent(face.score)}`;
}

async function drawPhoto(file, faces) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await image.decode(); // upright, as the boxes are
  } finally {
    URL.revokeObjectURL(image.src);
  }
  const scale = Math.min(1, FINE_PX / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = find("photo");
  canvas.width = Math.round(image.naturalWidth * scale);
  canvas.height = Math.round(image.naturalHeight * scale);
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  const unit = Math.max(canvas.width, canvas.height) / 640;
  pen.lineWidth = Math.max(2, 3 * unit);
  pen.font = `600 ${Math.max(12, 16 * unit)}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  faces.forEach((face, index) => {
    if (!face.box_xyxy) return;
    const [left, top, right, bottom] = face.box_xyxy.map((value) => value * scale);
    const color = face.is_unsure ? "#616161" : "#1a5fb4";
    pen.strokeStyle = color;
    pen.strokeRect(left, top, right - left, bottom - top);
    const text = faces.length > 1 ? `${index + 1}: ${describeFace(face)}` : describeFace(face);
    const size = pen.measureText(text).width + 8 * unit;
    const height = Math.max(16, 22 * unit);
    const x = Math.max(0, Math.min(left, canvas.width - size));
    const y = Math.max(0, top - height);
    pen.fillStyle = color;
    pen.fillRect(x, y, size, height);
    pen.fillStyle = "#fff";
    pen.fillText(text, x + 4 * unit, y + 3 * unit);
  });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `The photo with ${faces.length} faces marked`);
  canvas.hidden = false;
}

// Wiring

find("picture").addEventListener("load", () => {
  find("picture").hidden = false;
  find("no-picture").hidden = true;
});
find("picture").addEventListener("error", () => {
  find("picture").hidden = true;
  find("no-picture").hidden = false;
});
find("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  find("pause").setAttribute("aria-pressed", String(isPaused));
  find("pause").textContent = isPaused ? "Go on" : "Pause";
  if (isPaused) freezePicture();
  else openPicture();
});

function freezePicture() {
  const picture = find("picture");
  if (!picture.naturalWidth) return;
  const still = document.createElement("canvas");
  still.width = picture.naturalWidth;
  still.height = picture.naturalHeight;
  still.getContext("2d").drawImage(picture, 0, 0);
  still.toBlob((blob) => {
    if (isPaused) picture.src = URL.createObjectURL(blob); // the connection ends, and with it the work for it
  }, "image/jpeg");
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) closeLive(); // nothing is sent to a page that nobody sees
  else if (isOnline) openPicture();
});
find("photo-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = find("photo-form").querySelector("button");
  const file = find("file").files[0];
  if (!file) return;
  button.disabled = true;
  try {
    await classify(file);
  } catch {
    showProblem("The server could not be reached, or the photo could not be shown.", "Try again.");
  } finally {
    button.disabled = false;
  }
});
if (location.search) history.replaceState(null, "", location.pathname); // the token is no part of a bookmark
poll();
