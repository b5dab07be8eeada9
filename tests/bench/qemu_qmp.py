#!/usr/bin/env python3
"""qemu_qmp.py SOCKET: the median round trip of query-status through QEMU's Python client, and its
CPU time per command. Prints: MEDIAN_US CPU_US. Status 77: qemu.qmp is not there."""
import asyncio
import resource
import sys
import time

try:
    from qemu.qmp import QMPClient
except ImportError:
    sys.exit(77)

COUNT = 2000


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def main(path):
    client = QMPClient("bench")
    await client.connect(path)
    times = []
    before = 0.0
    for i in range(COUNT + 100):
        if i == 100:
            before = cpu()
        start = time.monotonic()
        await client.execute("query-status")
        if i >= 100:
            times.append(time.monotonic() - start)
    used = cpu() - before
    await client.disconnect()
    times.sort()
    print("%.2f %.2f" % (times[len(times) // 2] * 1e6, used / COUNT * 1e6))


asyncio.run(main(sys.argv[1]))
