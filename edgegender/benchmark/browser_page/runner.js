// LiteRT.js: one network, loaded for one accelerator and number of threads, run on raw bytes.

import { loadAndCompile, loadLiteRt, supportsFeature, Tensor, unloadLiteRt, getWebGpuDevice } from "@litertjs/core";

const WASM = new URL("./litert/core/wasm/", import.meta.url).pathname;
// The float network's numbers for each byte come as a table, so that they are the same bits everywhere.
const toTensorData = (bytes, model) => {
  if (model.input.dtype === "uint8") return bytes;
  const { tables, order } = model.input;
  const values = new Float32Array(bytes.length);
  for (let at = 0; at < bytes.length; at += 3) {
    for (let channel = 0; channel < 3; channel += 1) {
      values[at + channel] = tables[channel][bytes[at + order[channel]]];
    }
  }
  return values;
};

export const splitInputs = (bytes, model) => {
  const size = model.input.shape.reduce((product, side) => product * side, 1);
  const count = Math.floor(bytes.length / size);
  return Array.from({ length: count }, (_, at) => toTensorData(bytes.subarray(at * size, (at + 1) * size), model));
};

export class Runner {
  constructor(model, key) {
    this.model = model;
    this.key = key;
  }

  static keyOf(step) {
    return JSON.stringify([step.model, step.engine, step.threads]);
  }

  async load(step, content) {
    unloadLiteRt();
    const isGpu = step.engine === "webgpu";
    // without JSPI (Safari, Firefox) the GPU runs a network only when it runs all of it
    await loadLiteRt(WASM, { threads: !isGpu && step.threads > 1, jspi: isGpu && (await supportsFeature("jspi")) });
    if (isGpu && !getWebGpuDevice()) throw new Error("the browser gave no GPU");
    const begin = performance.now();
    this.compiled = await loadAndCompile(content, {
      accelerator: step.engine,
      cpuOptions: { numThreads: step.threads },
    });
    this.loadMs = performance.now() - begin;
    if (isGpu && this.compiled.options.accelerator !== "webgpu") throw new Error("the GPU does not run this network");
    this.isPartly = isGpu && !this.compiled.isFullyAccelerated;
  }

  // Writes the input, runs the network, and reads its answer: the only moment at which a GPU is known to be done.
  async run(data) {
    const begin = performance.now();
    const input = new Tensor(data, this.model.input.shape);
    const outputs = await this.compiled.run([input]);
    const answer = await outputs[0].data();
    const elapsed = performance.now() - begin;
    input.delete();
    for (const output of outputs) output.delete();
    return [answer, elapsed];
  }

  async answer(inputs) {
    const rows = [];
    for (const data of inputs) rows.push(Array.from((await this.run(data))[0]));
    return rows;
  }

  delete() {
    unloadLiteRt();
  }
}

const difference = (answer, expected) => {
  let most = 0;
  for (let at = 0; at < expected.length; at += 1) {
    const gap = Math.abs(answer[at] - expected[at]);
    if (!(gap <= most)) most = Number.isFinite(gap) ? gap : 1e9; // NaN: as far as can be
  }
  return most;
};

// Runs for a while over the inputs in turn, from the given one on.
export const runBlock = async (runner, inputs, expected, { start, seconds, most }) => {
  const latencies = [];
  let gap = 0;
  const begin = performance.now();
  const end = begin + 1000 * seconds;
  for (let at = start; latencies.length < most && (performance.now() < end || !latencies.length); at += 1) {
    const which = at % inputs.length;
    const [answer, elapsed] = await runner.run(inputs[which]);
    latencies.push(elapsed);
    gap = Math.max(gap, difference(answer, expected[which]));
  }
  return { latencies, gap, elapsedMs: performance.now() - begin };
};
