#!/usr/bin/env node
// Runs an aggregator and one agent on this machine in one terminal, from the
// programs in bin/. `make run` builds those first.
//
//   node deploy/dev/run.mjs
//
// All state lies in .reeve/ of the checkout; bin/reeve finds the sign-in there by
// itself. Ctrl-C stops both in order, a second one at once. What can be set:
//
//   REEVE_RUN_PORT  the aggregator's port (8443). The health ports lie 1022
//                   (aggregator, 9465) and 1021 (agent, 9464) above it.
//   REEVE_RUN_DIR   another directory than .reeve for the state
//   REEVE_LOG_LEVEL, REEVE_WAREHOUSE, REEVE_ENGINE_PROCESS  as the programs have them

import { execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { createSocket } from "node:dgram";
import { chmodSync, existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join, relative, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const root = realpathSync(join(dirname(fileURLToPath(import.meta.url)), "..", ".."));
const state = resolve(process.env.REEVE_RUN_DIR || join(root, ".reeve"));
const program = (name) => join(root, "bin", name);
const site = "local";
const host = "127.0.0.1";

/** An error whose message is all that the user needs. */
class Failure extends Error {}

// ---- what is printed ----

const colour = process.stdout.isTTY && !process.env.NO_COLOR && process.env.TERM !== "dumb";
const paint = (code, text) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
const print = (text) => process.stdout.write(`${text}\n`);
const width = "aggregator".length;
const prefixes = { run: paint("1", "run".padEnd(width)), aggregator: paint("36", "aggregator"), agent: paint("35", "agent".padEnd(width)) };
const say = (text) => print(`${prefixes.run} ${text}`);
const visible = (text) => text.replace(/[\x00-\x1f\x7f-\x9f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);

/** One line of a program, which logs in JSON, made for people. */
function readable(line) {
  let record;
  try {
    record = JSON.parse(line);
  } catch {
    return visible(line);
  }
  if (record === null || typeof record !== "object") return visible(line);
  const { time, level = "", msg = "", ...rest } = record;
  const clock = time ? `${new Date(time).toTimeString().slice(0, 8)} ` : "";
  const mark = { WARN: paint("33", "WARN "), ERROR: paint("31", "ERROR "), DEBUG: paint("2", "debug ") }[level] ?? "";
  const fields = Object.entries(rest).map(([key, value]) => {
    const text = visible(typeof value === "string" ? value : JSON.stringify(value));
    return ` ${paint("2", `${key}=`)}${typeof value !== "string" || /^[^\s"=]+$/.test(text) ? text : `"${text}"`}`;
  });
  return `${paint("2", clock)}${mark}${visible(msg)}${fields.join("")}`;
}

// ---- what runs ----

/** The environment of a program: ours without what is meant for another one. */
function environment(own, passed = []) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("REEVE_") || passed.includes(name)));
  return { ...env, ...own };
}

const running = new Map(); // program names to processes, in the order of their start
let stopping = false;

/** Starts a program whose end ends everything. */
function start(name, args, env) {
  // In a process group of its own, so that Ctrl-C reaches only this one, which
  // then stops the programs in their order.
  const child = spawn(program(`reeve-${name}`), args, { env, cwd: root, stdio: ["ignore", "pipe", "pipe"], detached: true });
  child.ended = new Promise((done) => {
    child.on("error", (error) => done(`cannot be started: ${error.message}`));
    child.on("close", (code, signal) => done(signal ? `was ended by ${signal}` : `ended with exit status ${code}`));
  }).then((how) => {
    child.how = how;
    running.delete(name);
    if (!stopping) stop(new Failure(`the ${name} ${how}; what it said is above`));
    return how;
  });
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream, crlfDelay: Infinity }).on("line", (line) => print(`${prefixes[name]} ${readable(line)}`));
  }
  running.set(name, child);
}

/** Runs a program to its end and returns what it printed. */
async function call(name, args, env = {}) {
  try {
    return (await promisify(execFile)(program(name), args, { env: environment(env), cwd: root })).stdout;
  } catch (error) {
    throw new Failure(`${name} ${args.join(" ")} failed:\n${(error.stderr || error.message).trimEnd()}`);
  }
}

const cli = (...args) => call("reeve", args, { REEVE_CONFIG: join(state, "cli.yaml") });

/** Waits until check gives something, or everything stops. */
async function until(what, seconds, check) {
  for (const end = Date.now() + seconds * 1000; !stopping; await sleep(50)) {
    const found = await check();
    if (found) return found;
    if (Date.now() > end) throw new Failure(`${what} did not happen within ${seconds} seconds; see above why`);
  }
  throw new Failure("stopped");
}

const isReady = async (port) => (await fetch(`http://${host}:${port}/readyz`).catch(() => null))?.ok;

/** Stops the programs, the last started first, and ends this one. */
async function stop(failure) {
  if (stopping) return;
  stopping = true;
  for (const [name, child] of [...running].reverse()) {
    say(`stopping the ${name}`);
    child.kill("SIGTERM");
    const impatience = setTimeout(() => {
      say(`the ${name} does not stop; killing it`);
      child.kill("SIGKILL");
    }, 60_000);
    const how = await child.ended;
    clearTimeout(impatience);
    if (how !== "ended with exit status 0") failure ??= new Failure(`the ${name} ${how} when it was stopped`);
  }
  if (failure && !(failure instanceof Failure)) console.error(failure);
  else if (failure) process.stderr.write(`${prefixes.run} ${paint("31", failure.message)}\n`);
  else say("stopped");
  process.exit(failure ? 1 : 0);
}

function onSignal() {
  if (!stopping) {
    if (colour) print("");
    stop();
    return;
  }
  for (const child of running.values()) child.kill("SIGKILL");
}

// ---- the steps ----

function ports() {
  const text = process.env.REEVE_RUN_PORT || "8443";
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 64000) throw new Failure(`REEVE_RUN_PORT is ${JSON.stringify(text)}: must be a number from 1 to 64000`);
  return { port, aggregatorHealth: port + 1022, agentHealth: port + 1021 };
}

/** Finds out before anything is started whether a port can be had. */
async function checkPort(kind, port, suggestion) {
  const problem = await new Promise((done) => {
    const socket = kind === "TCP" ? createServer() : createSocket("udp4");
    socket.once("error", done);
    const free = () => socket.close(() => done(null));
    if (kind === "TCP") socket.listen(port, host, free);
    else socket.bind(port, host, free);
  });
  if (!problem) return;
  const why = problem.code === "EADDRINUSE" ? "is in use" : `cannot be used (${problem.message})`;
  throw new Failure(`port ${port} (${kind}) of ${host} ${why}. Stop what uses it (another \`make run\`?), or choose other ports: REEVE_RUN_PORT=${suggestion} make run`);
}

/** Writes the agent's settings on the first run; from then on they are the user's. */
function agentSettings(file) {
  if (existsSync(file)) return;
  const hasIdentity = ["/etc/machine-id", "/var/lib/dbus/machine-id"].some((path) => {
    try {
      return /^[0-9a-f]{32}$/.test(readFileSync(path, "utf8").trim());
    } catch {
      return false;
    }
  });
  // Containers often have no machine id; the agent would not know what to call this machine.
  const options = hasIdentity ? "" : `    options:\n      # This machine has no /etc/machine-id, so it was given a name.\n      id: ${randomUUID()}\n`;
  writeFileSync(file, `# Settings of the agent that \`make run\` starts; yours to change.\ncollectors:\n  - plugin: host\n${options}`, { mode: 0o600 });
}

async function main() {
  const began = Date.now();
  for (const name of ["reeve", "reeve-agent", "reeve-aggregator"]) {
    if (!existsSync(program(name))) throw new Failure(`bin/${name} is missing: run \`make build\`, or \`make run\``);
  }
  const { port, aggregatorHealth, agentHealth } = ports();
  const other = port < 60000 ? port + 2000 : port - 2000;
  for (const [kind, p] of [["TCP", port], ["UDP", port], ["TCP", aggregatorHealth], ["TCP", agentHealth]]) await checkPort(kind, p, other);

  const engine = (await promisify(execFile)(process.execPath, [join(root, "deploy", "engine", "fetch.mjs")]).catch((error) => {
    throw new Failure((error.stderr || error.message).trimEnd());
  })).stdout.trim();

  const dirs = { aggregator: join(state, "aggregator"), agent: join(state, "agent") };
  mkdirSync(state, { recursive: true, mode: 0o700 });
  chmodSync(state, 0o700);
  for (const dir of Object.values(dirs)) mkdirSync(dir, { recursive: true, mode: 0o700 });
  const address = `${host}:${port}`;
  const adminToken = join(dirs.aggregator, "admin-token");

  start("aggregator", [], environment({
    REEVE_DATA_DIR: dirs.aggregator, REEVE_LISTEN: address, REEVE_ADVERTISE: address,
    REEVE_HEALTH_LISTEN: `${host}:${aggregatorHealth}`, REEVE_ENGINE_LIBRARY: engine, REEVE_LOG_FORMAT: "json",
  }, ["REEVE_WAREHOUSE", "REEVE_ENGINE_PROCESS", "REEVE_LOG_LEVEL"]));
  await until("the aggregator's start", 120, () => isReady(aggregatorHealth));

  const pin = (await call("reeve-aggregator", ["ca-hash", "--data-dir", dirs.aggregator])).trim();
  await cli("login", address, "--context", site, "--ca-hash", pin, "--token-file", adminToken);

  // The agent needs a join token once.
  const enrolled = () => existsSync(join(dirs.agent, "identity", "agent.json"));
  const joinToken = join(dirs.agent, "join-token");
  if (!enrolled()) {
    rmSync(joinToken, { force: true });
    writeFileSync(joinToken, await cli("token", "create", "--site", site, "--ttl", "15m"), { mode: 0o600 });
  }
  const settings = join(state, "agent.yaml");
  agentSettings(settings);
  start("agent", ["--config", settings], environment({
    REEVE_DATA_DIR: dirs.agent, REEVE_AGGREGATORS: address, REEVE_HEALTH_LISTEN: `${host}:${agentHealth}`, REEVE_LOG_FORMAT: "json",
    ...(existsSync(joinToken) ? { REEVE_JOIN_TOKEN_FILE: joinToken } : {}),
  }, ["REEVE_LOG_LEVEL"]));
  await until("the agent's enrollment", 60, enrolled);
  rmSync(joinToken, { force: true });
  await until("the first asset's arrival", 60, async () => JSON.parse(await cli("get", "assets", "--site", site, "--limit", "1", "-o", "json")).assets?.length);

  const here = (path) => {
    const short = relative(process.cwd(), path) || ".";
    return short.startsWith("..") ? path : short;
  };
  const reeve = here(program("reeve"));
  print(`
${paint("1", `Reeve runs: the first asset was listed after ${((Date.now() - began) / 1000).toFixed(1)} s.`)} Look around from another terminal, here:

  ${reeve} get assets                  what this machine consists of
  ${reeve} get asset UID               one asset with its document and relations
  ${reeve} get changes UID             its history
  ${reeve} watch                       changes as they arrive (as root: ip link add reeve0 type veth)
  ${reeve} get agents                  who reports
  ${reeve} --help                      the rest

  API            https://${address}  (Connect, gRPC and gRPC-Web; there is no web console yet)
  sign-in token  ${here(adminToken)}; the CA's hash is ${pin}
  client         ${here(join(state, "cli.yaml"))} signs ${reeve} in, in this directory and below
  health         http://${host}:${aggregatorHealth}/metrics (aggregator), http://${host}:${agentHealth}/metrics (agent)
  state          ${here(state)}${state === join(root, ".reeve") ? "; \`make clean\` removes it" : ""}

Ctrl-C stops both.
`);
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, onSignal);
process.stdout.on("error", () => stop()); // nobody reads any more
main().catch(stop);
