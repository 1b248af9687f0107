#!/usr/bin/env python3
"""Runs a command as a run with a place of an account, with Python's standard library alone.

usage: examples/lease.py SOCKET RUN COMMAND [ARG]...
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
import uuid


class Collector(http.client.HTTPConnection):
    """A connection to the control socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=90)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(path, method, target, body=None, attempts=60):
    """Sends a request until it is answered: each of those below may be repeated."""
    problem = "no attempt"
    for _ in range(attempts):
        collector = Collector(path)
        try:
            text = None if body is None else json.dumps(body)
            collector.request(method, target, text, {"Content-Type": "application/json"})
            answer = collector.getresponse()
            document = json.loads(answer.read() or "null")
            if answer.status < 500:
                return answer.status, document
            problem = document["detail"]
        except (OSError, http.client.HTTPException) as error:
            problem = error  # The collector may be on its way back.
        finally:
            collector.close()
        time.sleep(1)
    sys.exit(f"{method} {target}: {problem}")


def minded(path, lease, child):
    """Waits for the command, and renews its lease until its log keeps it."""
    renewal = f"/v1/leases/{lease['id']}"
    while lease.get("expires_at"):
        try:
            return child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            _, lease = ask(path, "PUT", renewal, {})
            if "detail" in lease:
                print(f"goes on without a place: {lease['detail']}", file=sys.stderr)
    return child.wait()


def main(path, run, *command):
    # The same key gets the same lease, however often it is sent.
    wanted = {"key": f"{run}-{uuid.uuid4()}", "runs": [run], "ttl": "1m", "holder": "lease.py"}
    while True:
        status, answer = ask(path, "POST", "/v1/leases", wanted)
        if status == 201:
            break
        if status != 200 or answer["decision"] != "wait":
            sys.exit(answer.get("detail") or answer["sentence"])
        print(f"waits: {answer['sentence']}", file=sys.stderr)
        time.sleep(min(answer["retry_in_s"] or 5, 5))
    lease = answer["leases"][0]
    status, started = ask(path, "PUT", f"/v1/runs/{run}", {"lease": lease["id"]})
    if status >= 400:
        ask(path, "DELETE", f"/v1/leases/{lease['id']}")
        sys.exit(started["detail"])
    try:
        account = {"TOKENTAIL_ACCOUNT": lease["account"], "TOKENTAIL_LEASE": lease["id"]}
        with subprocess.Popen(command, env=os.environ | account) as child:
            code = minded(path, lease, child)
    finally:
        # The exact totals; the place is free afterwards.
        status, totals = ask(path, "POST", f"/v1/runs/{run}/stop?wait=true")
    print(json.dumps({"run": run, "account": lease["account"], "total_tokens": totals["total_tokens"]}))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
