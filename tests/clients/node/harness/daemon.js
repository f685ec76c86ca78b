// The daemon under test: started on free ports in a folder of its own, and stopped with the test.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, openSync, closeSync, readFileSync, rmSync } from "node:fs";
import { once } from "node:events";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { eventually } from "./eventually.js";

export const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));
const SETPRIV = "/usr/bin/setpriv";
const START_WITHIN_MS = 20_000;
const ATTEMPTS = 3;
const running = new Set();

process.on("exit", () => {
  for (const daemon of running) daemon.child?.kill("SIGKILL");
});

export class Daemon {
  /**
   * `roles`: what each process runs, by default one daemon with everything; `{ broker: ["broker"],
   * edge: ["web"] }` starts two. `ask`: the servers that must say that they are ready.
   */
  constructor({ flags = [], roles = { all: flags }, env = {}, ask = ["broker", "edge"] } = {}) {
    this.ask = ask;
    this.roles = roles;
    this.env = env;
    this.agentKey = randomBytes(18).toString("base64url");
    this.folder = mkdtempSync(path.join(tmpdir(), "agent-bridge-test-"));
    this.logPath = path.join(this.folder, "daemon.log");
    this.processes = new Map();
  }

  static async start(options) {
    const daemon = new Daemon(options);
    for (let attempt = 1; ; attempt += 1) {
      daemon.ports = { broker: await freePort(), edge: await freePort() };
      try {
        for (const role of Object.keys(daemon.roles)) await daemon.startRole(role);
        await daemon.ready();
        return daemon;
      } catch (error) {
        await daemon.killAll();
        // Another program may take the port between the check and the bind.
        if (attempt === ATTEMPTS || !daemon.log().includes("in use")) {
          await daemon.stop();
          throw error;
        }
      }
    }
  }

  /** Starts one process on the ports the daemon has. */
  async startRole(role) {
    const binary = process.env.AGENT_BRIDGE_BIN ?? path.join(ROOT, "target/debug/agent-bridge");
    const env = {
      PATH: process.env.PATH,
      WEBSOCKET_SERVER_ADDR: `127.0.0.1:${this.ports.broker}`,
      WEB_SERVER_ADDR: `127.0.0.1:${this.ports.edge}`,
      AGENT_TOKEN: this.agentKey,
      DATA_DIR: path.join(this.folder, "data"),
      STATIC_ASSETS_PATH: path.join(ROOT, "static"),
      RUST_LOG: process.env.AGENT_BRIDGE_TEST_LOG ?? "info",
      ...this.env,
    };
    const log = openSync(this.logPath, "a");
    // With setpriv the daemon ends with the test run, however that ends.
    const command = existsSync(SETPRIV) ? [SETPRIV, "--pdeathsig", "KILL", binary] : [binary];
    const child = spawn(command[0], [...command.slice(1), ...this.roles[role]], { cwd: this.folder, env, stdio: ["ignore", log, log] });
    closeSync(log);
    const started = { child, exited: once(child, "exit") };
    this.processes.set(role, started);
    running.add(started);
  }

  /** Waits until broker and edge say that they are ready, or the named one of them. */
  async ready(servers = this.ask) {
    const all = async () => {
      for (const { child } of this.processes.values()) {
        if (child.exitCode !== null) throw new Error(`the daemon exited with ${child.exitCode}:\n${this.log()}`);
      }
      const answers = await Promise.all(servers.map((server) => this.fetch(server, "/health/ready").catch(() => null)));
      return answers.every((answer) => answer?.status === 200);
    };
    await eventually(`the daemon is ready\n${this.log()}`, all, START_WITHIN_MS);
  }

  url(server, path = "/") {
    return `http://127.0.0.1:${this.ports[server]}${path}`;
  }

  fetch(server, path, options = {}) {
    return fetch(this.url(server, path), { ...options, signal: AbortSignal.timeout(10_000) });
  }

  /** Sends the signal to one process and waits for its end; returns its exit code. */
  async end(signal = "SIGTERM", role = "all") {
    const started = this.processes.get(role);
    started.child.kill(signal);
    const [code] = await started.exited;
    this.processes.delete(role);
    running.delete(started);
    return code;
  }

  async killAll() {
    for (const role of [...this.processes.keys()]) {
      const { child } = this.processes.get(role);
      if (child.exitCode === null && child.signalCode === null) await this.end("SIGKILL", role);
      else this.processes.delete(role);
    }
  }

  /** Ends the processes and removes the folder. */
  async stop() {
    await this.killAll();
    rmSync(this.folder, { recursive: true, force: true });
  }

  log(lines = 30) {
    if (!existsSync(this.logPath)) return "";
    return readFileSync(this.logPath, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  }
}

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
