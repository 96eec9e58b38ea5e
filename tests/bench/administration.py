"""The administrator's verbs with many nodes and many BMCs. No rivals: the bars are seconds."""

import json
import os
import subprocess
import time

from measure import Failed
from servers import ADDRESS, Unix, await_closed_udp

NODES = 10_000
ARMED = 2_500
BMCS = 1_000
SIMULATORS = 20
PASSWORD = "benchmark"

SIMULATOR = """name "bmc"
set_working_mc 0x20
startlan 1
addr {0} {1}
priv_limit admin
allowed_auths_admin md5
guid a123456789abcdefa123456789abcdef
endlan
chassis_control "{2}"
user 2 true "admin" "{3}" admin 60 md5
"""
COMMANDS = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n"
MACHINE = "#!/bin/sh\ncase \"$1 $2\" in \"get power\") echo power:1;; \"get boot\") echo boot:default;; esac\n"


def names(first, last):
    return f"bench[{first:05}-{last:05}]"


def stanzas():
    """10,000 nodes in 100 racks; the last thousand have BMCs, fifty to each simulator."""
    lines = ["lo:", "    objtype=network", "    net=127.0.0.0", "    mask=255.0.0.0", "all:", "    objtype=group", "    arch=x86_64"]
    for n in range(1, NODES + 1):
        lines += [f"bench{n:05}:", "    objtype=node", f"    groups=all,rack{n % 100}", f"    ip=127.1.{n >> 8}.{n & 255}"]
        lines += [f"    mac=52:54:00:01:{n >> 8:02x}:{n & 255:02x}", f"    serial=S{n:08}", "    netboot=auto"]
        if n > NODES - BMCS:
            port = 6230 + n % SIMULATORS
            lines += ["    mgt=ipmi", f"    bmc={ADDRESS}", f"    bmcport={port}", "    bmcusername=admin", f"    bmcpassword={PASSWORD}"]
    return "\n".join(lines) + "\n"


class Simulators:
    """OpenIPMI's ipmi_sim, several of them."""

    def __init__(self, folder):
        self.processes = []
        for number in range(SIMULATORS):
            place = os.path.join(folder, f"bmc{number}")
            os.makedirs(os.path.join(place, "state"))
            machine, port = os.path.join(place, "machine"), 6230 + number
            for name, text in [
                ("machine", MACHINE),
                ("commands", COMMANDS),
                ("lan.conf", SIMULATOR.format(ADDRESS, port, machine, PASSWORD)),
            ]:
                with open(os.path.join(place, name), "w", encoding="utf-8") as file:
                    file.write(text)
            os.chmod(machine, 0o700)
            words = ["ipmi_sim", "-n", "-c", "lan.conf", "-f", "commands", "-s", "state"]
            quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self.processes.append(subprocess.Popen(words, cwd=place, **quiet))
            await_closed_udp(port)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        for process in self.processes:
            process.terminate()
            process.wait()


def timed(bench, work):
    """The median of three."""
    times = []
    for _ in range(max(3, bench.rounds)):
        start = time.monotonic()
        work()
        times.append(time.monotonic() - start)
    return sorted(times)[len(times) // 2]


def expect(text, part):
    if part not in text:
        raise Failed(f"'{part}' is missing in {text[:500]}")


def administration(bench):
    site, cli = bench.site, bench.site.cli
    file = os.path.join(bench.folder, "stanzas")
    with open(file, "w", encoding="utf-8") as stanza:
        stanza.write(stanzas())
    start = time.monotonic()
    with open(file, encoding="utf-8") as stanza:
        site.cli("mkdef", "-z", stdin=stanza)
    result = {"import": time.monotonic() - start}
    result["lsdef"] = timed(bench, lambda: expect(cli("lsdef", "-t", "node", "-l"), f"bench{NODES:05}"))
    nodes = names(1, ARMED)
    result["nodeset"] = timed(bench, lambda: expect(cli("nodeset", nodes, "osimage=first0"), f"bench{ARMED:05}: sysclone"))

    def noderange():
        connection = Unix(os.path.join(site.folder, "run/api.sock"))
        body = json.dumps({"range": f"{names(1, NODES)},all@rack[0-99],-rack5"})
        connection.request("POST", "/api/v1/noderange", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        if len(answer["nodes"]) != NODES - NODES // 100:
            raise Failed(f"{len(answer['nodes'])} nodes")

    result["noderange"] = timed(bench, noderange)
    with Simulators(bench.folder):

        def rpower():
            text = cli("rpower", names(NODES - BMCS + 1, NODES), "stat")
            if text.count(": on\n") != BMCS:
                raise Failed(f"{text.count(': on')} of {BMCS} answered: {text[:500]}")

        start = time.monotonic()
        rpower()
        result["rpower"] = time.monotonic() - start
    print(f"  {result}", flush=True)
    return result
