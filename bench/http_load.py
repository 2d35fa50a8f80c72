#!/usr/bin/env python3
"""Asks an HTTP server on loopback for paths, over some connections for some seconds: BASE PATHS-FILE SECONDS CONNECTIONS.

Prints the bytes that came and the seconds that it took. A short read or a status other than 200 ends it with an error.
"""

import socket
import sys
import threading
import time
from urllib.parse import urlparse


def run(address, host, paths, deadline, counted, failed):
    received = 0
    buffer = bytearray(1 << 20)
    try:
        with socket.create_connection(address) as connection:
            turn = 0
            while time.monotonic() < deadline:
                path = paths[turn % len(paths)]
                turn += 1
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                head = b""
                while b"\r\n\r\n" not in head:
                    part = connection.recv(65536)
                    if not part:
                        raise RuntimeError("the server closed the connection")
                    head += part
                head, body = head.split(b"\r\n\r\n", 1)
                if b" 200 " not in head.split(b"\r\n")[0]:
                    raise RuntimeError(head.decode(errors="replace"))
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                missing = int(lengths[0].split(b":")[1]) - len(body)
                received += len(body) + missing
                while missing > 0:
                    count = connection.recv_into(buffer, min(missing, len(buffer)))
                    if not count:
                        raise RuntimeError("the body was cut short")
                    missing -= count
    except Exception as error:  # noqa: BLE001 - reported to the main thread
        failed.append(error)
    counted.append(received)


def main():
    base, paths_file, seconds, connections = sys.argv[1:]
    url = urlparse(base)
    with open(paths_file) as file:
        paths = file.read().split()
    counted, failed = [], []
    start = time.monotonic()
    deadline = start + float(seconds)
    threads = [
        threading.Thread(target=run, args=((url.hostname, url.port), url.netloc, paths[i:] + paths[:i], deadline, counted, failed))
        for i in range(int(connections))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        sys.exit(f"load failed: {failed[0]}")
    print(sum(counted), round(time.monotonic() - start, 3))


if __name__ == "__main__":
    main()
