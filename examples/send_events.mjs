// Sends events to Meterline, one JSON object a line on standard input:
//   METERLINE_TOKEN=mtl_... node send_events.mjs < events.ndjson
// The token is one of `meterline token create NAME --scope ingest`.
// Each is counted once, so whatever has no answer is sent again.
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const BATCH_EVENTS = 100;
const WAIT_MS_MAX = 30_000;
const url = `${process.env.METERLINE_URL ?? "http://127.0.0.1:8270"}/v1/events`;
const headers = { "content-type": "application/json" };
if (process.env.METERLINE_TOKEN) {
  headers.authorization = `Bearer ${process.env.METERLINE_TOKEN}`;
}

async function send(events) {
  const request = { method: "POST", headers, body: JSON.stringify(events) };
  for (let waitMs = 100; ; waitMs = Math.min(2 * waitMs, WAIT_MS_MAX)) {
    let response;
    let text;
    try {
      response = await fetch(url, { ...request, signal: AbortSignal.timeout(60_000) });
      text = await response.text();
    } catch {
      await sleep(waitMs); // no answer: nobody knows whether it is stored
      continue;
    }
    if (response.ok) return JSON.parse(text).results;
    if (response.status !== 429 && response.status < 500) throw new Error(text);
    await sleep(1000 * (Number(response.headers.get("retry-after")) || waitMs / 1000));
  }
}

async function flush(events) {
  for (const result of await send(events)) {
    if (result.verdict === "conflict" || result.verdict === "refused") {
      console.error(`${result.verdict}: ${result.id}: ${result.field}: ${result.reason}`);
      process.exitCode = 1;
    }
  }
}

let events = [];
for await (const line of createInterface({ input: process.stdin })) {
  events.push(JSON.parse(line));
  if (events.length === BATCH_EVENTS) {
    await flush(events);
    events = [];
  }
}
if (events.length > 0) await flush(events);
