#!/usr/bin/env python3
"""A compute worker that takes its time: it speaks the workers' protocol and says w0 w1 w2 …, a word a token.

It goes on where an assistant's last message ended, as a model would. A file named after its process id lies in the folder
of models while it runs, so that a test can see which processes there are.
"""

import json
import os
import struct
import sys
import threading
import time

models = sys.argv[sys.argv.index("--models") + 1]
open(os.path.join(models, str(os.getpid())), "w").close()
lock = threading.Lock()
cancelled = set()


def send(event):
    body = json.dumps(event).encode()
    with lock:
        sys.stdout.buffer.write(struct.pack(">I", len(body)) + body)
        sys.stdout.buffer.flush()


def chat(job, order):
    last = order["messages"][-1]
    first = len(last["content"].split()) if order.get("continues") else 0
    wanted = order["max_tokens"] or 16
    for number in range(first, first + wanted):
        if job in cancelled:
            send({"event": "failed", "job": job, "error": {"code": "cancelled", "message": "cancelled"}})
            return
        time.sleep(0.05)
        send({"event": "tokens", "job": job, "text": f"w{number} ", "count": 1})
    send({"event": "chatted", "job": job, "finish": "length", "prompt_tokens": 5, "completion_tokens": wanted})


capabilities = {"version": "test", "encoders": [], "models": ["smollm2-135m-instruct"], "device": "none", "gpu": False}
send({"event": "ready", "capabilities": capabilities})
while len(head := sys.stdin.buffer.read(4)) == 4:
    command = json.loads(sys.stdin.buffer.read(struct.unpack(">I", head)[0]))
    if command["command"] == "start":
        threading.Thread(target=chat, args=(command["job"], command["task"]), daemon=True).start()
    elif command["command"] == "cancel":
        cancelled.add(command["job"])
    else:
        break
