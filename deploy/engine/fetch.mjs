#!/usr/bin/env node
// Makes sure that the ClickHouse engine (libchdb.so) that Reeve is built with
// lies in the cache, and prints its absolute path on stdout.
//
//   node deploy/engine/fetch.mjs
//
// The engine comes from the npm registry, by `npm pack`, so that the registry
// and proxy settings of the user hold, and is checked against the hash pinned in
// engine.json. The cache is shared by all checkouts:
//
//   ${REEVE_CACHE_DIR:-${XDG_CACHE_HOME:-~/.cache}/reeve}/engine/<version>-<platform>/
//
// CHDB_LIB_PATH names a copy of one's own, which is then used as it is.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, readFileSync, rmSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";

const library = "libchdb.so";
const marker = "verified.json"; // says what was unpacked, so that it need not be hashed again
const ownCopy = "Or bring your own copy of libchdb.so and set CHDB_LIB_PATH to its path.";

/** An error whose message is all that the user needs. */
class Failure extends Error {}

const say = (text) => process.stderr.write(`engine: ${text}\n`);

/** Runs a command; what it says goes to stderr. */
function run(command, args) {
  return new Promise((done, failed) => {
    const child = spawn(command, args, { stdio: ["ignore", 2, 2] });
    child.on("error", (error) =>
      failed(
        error.code === "ENOENT"
          ? new Failure(`the command ${command} is missing; install it (npm comes with Node.js). ${ownCopy}`)
          : error,
      ),
    );
    child.on("close", (code, signal) => {
      if (code === 0) done();
      else failed(new Failure(`${command} ${args.join(" ")} failed (${signal ?? `exit status ${code}`})`));
    });
  });
}

/** Whether a directory holds the unpacked library of this integrity. */
async function isReady(dir, integrity) {
  try {
    const [said, file] = await Promise.all([readFile(join(dir, marker), "utf8").then(JSON.parse), stat(join(dir, library))]);
    return said.integrity === integrity && said.size === file.size;
  } catch {
    return false;
  }
}

/** The file's hash in the form of the registry: "sha512-<base64>". */
async function integrityOf(path) {
  const hash = createHash("sha512");
  await pipeline(createReadStream(path), hash);
  return `sha512-${hash.digest("base64")}`;
}

/** Downloads, checks and unpacks into an empty directory. */
async function unpack(dir, pinned, version) {
  const spec = `${pinned.name}@${version}`;
  say(`fetching ${spec} (about 180 MB) from the npm registry`);
  try {
    await run("npm", ["pack", spec, "--ignore-scripts", "--pack-destination", dir]);
  } catch (error) {
    if (error instanceof Failure && error.message.includes("is missing")) throw error;
    throw new Failure(`cannot fetch ${spec}: ${error.message}. Check that the npm registry is reachable (npm ping; npm config get registry proxy https-proxy). ${ownCopy}`);
  }
  const tarball = join(dir, (await readdir(dir)).find((name) => name.endsWith(".tgz")) ?? "(nothing)");

  say("checking it");
  const got = await integrityOf(tarball);
  if (got !== pinned.integrity) {
    throw new Failure(`${spec} is not what is pinned and was deleted: its hash is ${got}, engine.json pins ${pinned.integrity}. The registry or something on the way to it gave another file.`);
  }

  say("unpacking it (about 570 MB)");
  await run("tar", ["-xzf", tarball, "-C", dir, "--strip-components=1", `package/${library}`]);
  await rm(tarball);
  const { size } = await stat(join(dir, library));
  await writeFile(join(dir, marker), `${JSON.stringify({ integrity: pinned.integrity, size })}\n`);
}

/** Deletes what runs that were killed have left. */
async function sweep(parent) {
  const dayAgo = Date.now() - 24 * 3600 * 1000;
  for (const name of await readdir(parent)) {
    const path = join(parent, name);
    if (name.includes(".tmp-") && (await stat(path).catch(() => null))?.mtimeMs < dayAgo) await rm(path, { recursive: true, force: true });
  }
}

/** Puts a finished directory in its place; another run may do the same meanwhile. */
async function place(from, to, integrity) {
  for (let attempt = 0; attempt < 10; attempt++) {
    try {
      await rename(from, to);
      return;
    } catch (error) {
      if (!["EEXIST", "ENOTEMPTY", "ENOTDIR"].includes(error.code)) throw error;
    }
    if (await isReady(to, integrity)) return;
    // What is there is incomplete or of another integrity.
    const aside = `${to}.tmp-old-${process.pid}-${attempt}`;
    await rename(to, aside).catch((error) => {
      if (error.code !== "ENOENT") throw error;
    });
    await rm(aside, { recursive: true, force: true });
  }
  throw new Failure(`cannot put the engine into ${to}: something else keeps changing it`);
}

async function main() {
  const own = process.env.CHDB_LIB_PATH;
  if (own) {
    const path = resolve(own);
    const file = await stat(path).catch(() => null);
    if (!file?.isFile()) throw new Failure(`CHDB_LIB_PATH is ${own}, but there is no such file`);
    return path;
  }

  const { version, packages } = JSON.parse(readFileSync(join(dirname(fileURLToPath(import.meta.url)), "engine.json"), "utf8"));
  const platform = `${process.platform}-${process.arch}`;
  const pinned = packages[platform];
  if (!pinned) throw new Failure(`no engine is pinned for ${platform}, only for ${Object.keys(packages).join(", ")}. ${ownCopy}`);

  const cache = process.env.REEVE_CACHE_DIR || join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "reeve");
  const dir = resolve(cache, "engine", `${version}-${platform}`);
  if (await isReady(dir, pinned.integrity)) return join(dir, library);

  await mkdir(dirname(dir), { recursive: true });
  await sweep(dirname(dir));
  const temporary = await mkdtemp(`${dir}.tmp-`);
  const clean = () => rmSync(temporary, { recursive: true, force: true });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.once(signal, () => {
      clean();
      process.exit(1);
    });
  }
  try {
    await unpack(temporary, pinned, version);
    await chmod(temporary, 0o755);
    await place(temporary, dir, pinned.integrity);
  } finally {
    clean();
  }
  say(`ready in ${dir}`);
  return join(dir, library);
}

try {
  process.stdout.write(`${await main()}\n`);
} catch (error) {
  say(error instanceof Failure ? error.message : (error.stack ?? error));
  process.exitCode = 1;
}
