"""How the page and its API bear load: ``python tools/load_test.py MODEL`` starts ``x2vlm app`` and tries it.

Many clients at once (latencies, memory), hostile uploads, and a server that is killed and started again. The exit
status is 1 if an answer was wrong, an upload was not refused, or memory grew by more than ``--most-growth`` MiB.
"""

import argparse
import http.client
import io
import json
import os
import platform
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from x2vlm.data.toy.world import ToyWorld

TEXTS = ["a red circle", "a blue square", "a green star"]
BOUNDARY = "x2vlm-load-test"


class Server:
    """``x2vlm app`` as a process of its own."""

    def __init__(self, model, options, port=None):
        self.model, self.options, self.port, self.process = model, options, port or free_port(), None

    def start(self, patience=600):
        """Start it; returns the seconds until it answered."""
        began = time.perf_counter()
        command = [sys.executable, "-m", "x2vlm.cli", "app", self.model, "--port", str(self.port), *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while time.perf_counter() - began < patience:
            if self.process.poll() is not None:
                raise SystemExit(f"x2vlm app ended with status {self.process.returncode}")
            try:
                if self.get("/api/health")[0] == 200:
                    return time.perf_counter() - began
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"x2vlm app did not answer within {patience} s")

    def stop(self, how=signal.SIGTERM):
        """End it by a signal."""
        self.process.send_signal(how)
        self.process.wait()

    def get(self, path):
        """Status and body."""
        return self.request("GET", path, None, {})

    def post(self, path, files=(), **fields):
        """Status and body of a form; files are ``(field, file name, content)``."""
        body = form(files, fields)
        return self.request("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})

    def request(self, method, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def memory(self):
        """Resident memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024

    def cpu_seconds(self):
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def form(files, fields):
    lines = []
    for name, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            lines += [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()]
    for name, file, content in files:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n\r\n'
        lines += [head.encode(), content, b"\r\n"]
    return b"".join([*lines, f"--{BOUNDARY}--\r\n".encode()])


def scenes(count):
    """PNG files of toy scenes."""
    world, files = ToyWorld(num_scenes=count, split="test", image_size=224), []
    for number in range(count):
        buffer = io.BytesIO()
        Image.fromarray(world.record(number)["image"]).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


def bear(server, images, expected, requests, clients):
    """Seconds of each request, by route; every answer is compared with what a single client got."""
    routes = list(expected)

    def ask(number):
        route, image = routes[number % len(routes)], number % len(images)
        began = time.perf_counter()
        status, body = server.post(route, [("image", "scene.png", images[image])], text=TEXTS)
        seconds = time.perf_counter() - began
        return route, seconds, status == 200 and close(json.loads(body), expected[route][image])

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(ask, range(requests)))


def close(one, other):
    """Whether two answers are the same; numbers may differ in their last digits."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    return abs(one - other) < 1e-2 if isinstance(one, float) and isinstance(other, float) else one == other


def png_that_says(width, height):
    """A PNG of a few bytes whose header promises a huge image."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def hostile(image):
    """What may come: (name, route, files, fields)."""
    good = [("image", "scene.png", image)]
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    uploads = {
        "empty file": b"",
        "text": b"not an image",
        "cut PNG": image[: len(image) // 2],
        "header that promises 50,000 x 50,000 pixels": png_that_says(50_000, 50_000),
        "header that promises 2^31 - 1 pixels in a row": png_that_says(2**31 - 1, 1),
        "SVG that names a file": svg,
        "pickle": b"\x80\x04cos\nsystem\n(S'exit'\ntR.",
        "33 MiB": b"\0" * (33 * 2**20),
        "zip": b"PK\x05\x06" + b"\0" * 18,
    }
    yield from ((name, "/api/match", [("image", "x.png", data)], {"text": "a cat"}) for name, data in uploads.items())
    yield "no image", "/api/match", [], {"text": "a cat"}
    yield "no text", "/api/match", good, {}
    yield "blank text", "/api/match", good, {"text": "   "}
    yield "text of 100,000 characters", "/api/match", good, {"text": "a" * 100_000}
    yield "1,000 texts", "/api/match", good, {"text": ["a cat"] * 1000}
    yield "threshold that is no number", "/api/ground", good, {"text": "a cat", "threshold": "nan"}
    yield "10^9 candidates", "/api/ground", good, {"text": "a cat", "candidates": 10**9}
    yield "a path as a method", "/api/explain", good, {"text": "a cat", "method": "../../etc/passwd"}
    yield "another route", "/api/../etc/passwd", good, {"text": "a cat"}


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main(argv=None):
    """Run the test; returns the exit status."""
    args = parse(argv)
    options = ["--checkpoint", args.checkpoint] if args.checkpoint else []
    server, images = Server(args.model, options + (["--api-only"] if args.api_only else [])), scenes(8)
    problems, facts = [], [("machine", f"{platform.machine()}, {usable_cores()} core(s)")]
    facts.append(("start until the first answer", f"{server.start():.1f} s"))
    try:
        problems += under_load(server, images, args, facts) + refusals(server, images[0], facts)
        problems += killed(server, images[0], facts)
    finally:
        server.stop()
    for name, value in facts:
        print(f"{name:<50}{value}")
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


def under_load(server, images, args, facts):
    expected = {}
    for route in ("/api/match", "/api/ground"):
        alone = [server.post(route, [("image", "scene.png", image)], text=TEXTS) for image in images]
        expected[route] = [json.loads(body) for status, body in alone if status == 200]
    bear(server, images, expected, args.requests, args.clients)  # until buffers and thread pools have their size
    before, problems = server.memory(), []
    for number in range(args.rounds):
        began, computed = time.perf_counter(), server.cpu_seconds()
        results = bear(server, images, expected, args.requests, args.clients)
        seconds, total = [one for _, one, _ in results], time.perf_counter() - began
        facts.append(
            (
                f"round {number + 1}: {args.requests} requests, {args.clients} clients",
                f"p50 {percentile(seconds, 0.5):.2f} s, p95 {percentile(seconds, 0.95):.2f} s, "
                f"{args.requests / total:.1f} a second, "
                f"{1000 * (server.cpu_seconds() - computed) / args.requests:.0f} ms of CPU each, "
                f"{server.memory():.0f} MiB",
            )
        )
        wrong = sum(not right for _, _, right in results)
        problems += [f"{wrong} of {args.requests} answers differ from those a single client gets"] if wrong else []
    growth = server.memory() - before
    facts.append(("memory before and after", f"{before:.0f} MiB, {before + growth:.0f} MiB"))
    return problems + ([f"memory grew by {growth:.0f} MiB"] if growth > args.most_growth else [])


def refusals(server, image, facts):
    problems, statuses = [], []
    for name, route, files, fields in hostile(image):
        try:
            status, _ = server.post(route, files, **fields)
        except (ConnectionError, http.client.HTTPException) as error:  # the server may hang up on what is too large
            status = 413 if isinstance(error, ConnectionError) else 0
        statuses.append(status)
        problems += [] if 400 <= status < 500 else [f"{name}: status {status}; expected a refusal"]
    healthy = server.get("/api/health")[0] == 200
    facts.append((f"{len(statuses)} hostile requests", f"all refused: {all(400 <= one < 500 for one in statuses)}"))
    facts.append(("memory afterwards", f"{server.memory():.0f} MiB"))
    return problems + ([] if healthy else ["the server is not healthy after hostile uploads"])


def killed(server, image, facts):
    question = ("/api/match", [("image", "scene.png", image)])
    before = json.loads(server.post(*question, text=TEXTS)[1])
    server.stop(signal.SIGKILL)
    facts.append(("killed by SIGKILL; start until the first answer", f"{server.start():.1f} s"))
    after = json.loads(server.post(*question, text=TEXTS)[1])
    return [] if close(before, after) else ["answers differ after a restart"]


def usable_cores():
    return len(os.sched_getaffinity(0))


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder, or a config with --checkpoint")
    parser.add_argument("--checkpoint", help="weights of the config's model")
    parser.add_argument("--requests", type=int, default=200, help="of a round (default: 200)")
    parser.add_argument("--clients", type=int, default=20, help="at the same time (default: 20)")
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up (default: 3)")
    parser.add_argument("--most-growth", type=float, default=32, help="MiB by which memory may grow (default: 32)")
    parser.add_argument("--api-only", action="store_true", help="without the page")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
