"""What ipmi_sim calls to control a machine: here a QEMU whose control socket is argument 1.

    bmc_machine.py SOCKET get power|boot
    bmc_machine.py SOCKET set power 0|1, set reset 1, set shutdown 1, set boot none|default|pxe|cdrom|bios

The boot device is good for one boot, as with a real BMC: at every start the network card comes before the disk or
behind it, as was said since the last one.
"""

import json
import os
import socket
import sys

DEVICES = ["/machine/peripheral", "/machine/peripheral-anon"]


class Qemu:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rw")
        self.lines.readline()
        self.events = []
        self.do("qmp_capabilities")

    def do(self, command, **arguments):
        self.lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.lines.flush()
        while True:
            answer = json.loads(self.lines.readline())
            if "error" in answer:
                sys.exit(f"{command}: {answer['error']}")
            if "return" in answer:
                return answer["return"]
            self.events.append(answer.get("event"))

    def wait_for(self, event):
        while event not in self.events:
            self.events.append(json.loads(self.lines.readline()).get("event"))

    def is_on(self):
        return self.do("query-status")["status"] == "running"

    def cards(self):
        for parent in DEVICES:
            for child in self.do("qom-list", path=parent):
                if child["type"].startswith("child<virtio-net"):
                    yield f"{parent}/{child['name']}"

    def place(self, path, index):
        """QEMU refuses an index that is taken, also by the device itself."""
        if self.do("qom-get", path=path, property="bootindex") != index:
            self.do("qom-set", path=path, property="bootindex", value=index)


def restart(qemu, once):
    """Resets the machine, with the network card first when `once` says so. The firmware is given the order late, so it
    stays until the next start."""
    for index, card in enumerate(qemu.cards()):
        qemu.place(card, index if once == "pxe" else 20 + index)
    qemu.do("stop")
    qemu.do("system_reset")
    qemu.wait_for("RESET")
    qemu.do("cont")


def main():
    path, verb, what, *value = sys.argv[1:]
    flag = path + ".boot"
    boot = open(flag).read() if os.path.exists(flag) else "default"
    qemu = Qemu(path)
    if (verb, what) == ("get", "power"):
        print(f"power:{int(qemu.is_on())}")
    elif (verb, what) == ("get", "boot"):
        print(f"boot:{boot}")
    elif (verb, what) == ("set", "boot"):
        with open(flag, "w") as file:
            file.write(value[0])
    elif (verb, what, value) == ("set", "power", ["0"]):
        qemu.do("stop")
        qemu.do("system_reset")
    elif (verb, what) == ("set", "shutdown"):
        qemu.do("system_powerdown")
    elif (verb, what) in [("set", "power"), ("set", "reset")]:
        restart(qemu, boot)
        with open(flag, "w") as file:
            file.write("default")
    else:
        sys.exit(f"{verb} {what} is not known")


main()
