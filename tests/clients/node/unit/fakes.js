// A clock and a WebSocket under a test's control, for connection.js.

export class FakeClock {
  #timers = new Map();
  #number = 0;
  now = 0;

  setTimeout = (run, ms) => {
    this.#number += 1;
    this.#timers.set(this.#number, { at: this.now + ms, run });
    return this.#number;
  };

  clearTimeout = (number) => {
    this.#timers.delete(number);
  };

  /** Lets time pass, running what falls due in its order. */
  pass(ms) {
    const end = this.now + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end).sort(([, one], [, other]) => one.at - other.at)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.now = due[1].at;
      due[1].run();
    }
    this.now = end;
  }

  get waiting() {
    return this.#timers.size;
  }
}

/** A class of sockets that records each one made. */
export function fakeWebSocket() {
  return class FakeWebSocket {
    static made = [];
    readyState = 0;
    bufferedAmount = 0;
    sent = [];
    closedWith = null;

    constructor(url, protocols) {
      Object.assign(this, { url, protocols });
      FakeWebSocket.made.push(this);
    }

    send(text) {
      this.sent.push(JSON.parse(text));
    }

    close(code) {
      this.closedWith = code;
      this.readyState = 2;
    }

    // What the other side does.

    says(frame) {
      this.readyState = 1;
      this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
    }

    acknowledges() {
      this.says({ type: "connection:ack", source: "bridge", payload: { session_id: "s", limits: { max_frame_bytes: 1_000 } } });
    }

    closes(code, reason = "") {
      this.readyState = 3;
      this.onclose?.({ code, reason });
    }
  };
}
