"""The servers that are measured: syscloned, an rsync daemon, and a web server for casync."""

import base64
import http.client
import json
import os
import socket
import subprocess
import time

from measure import Failed, run

ADDRESS = "127.0.0.1"
RSYNC_PORT = 8730
WEB_PORT = 8731
# In the place of kernel and initrd, which nobody boots here; its BLAKE3.
BOOT_FILE = "benchmark\n"
BOOT_FILE_HASH = "7026fe14f613baf23ef69e65f0adf543245bfa5b245e969f6cee8858d908ce2b"

CONFIG = """state_dir = '{0}/state'
run_dir = '{0}/run'
boot_dir = '{0}/boot'
log = 'warn'
[listen]
address = '{1}'
interface = 'lo'
dhcp_port = 0
tftp_port = 0
[ssh]
identity = '{0}/id'
"""

# In the place of ssh: the golden client is a directory of this machine.
SSH = """#!/bin/sh
for command; do :; done
case $command in
uname*) echo x86_64; sha256sum '{0}/pushed' 2>/dev/null || :;;
*capture) exec '{1}' capture '{2}' 2> '{0}/worker.log';;
*) cat > '{0}/pushed'; sha256sum '{0}/pushed';;
esac
"""

RSYNCD = """uid = root
gid = root
use chroot = no
numeric ids = yes
max connections = 64
pid file = {0}/rsyncd.pid
lock file = {0}/rsyncd.lock
log file = {0}/rsyncd.log
[tree]
path = {1}
read only = yes
"""


def await_closed_udp(port):
    """Waits until somebody has this port of UDP."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with socket.socket(type=socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                return
        time.sleep(0.01)
    raise Failed(f"nobody has UDP port {port}")


def await_port(port, process):
    """Waits until somebody listens."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex((ADDRESS, port)) == 0:
                return
        time.sleep(0.05)
    raise Failed(f"nobody listens on port {port}")


class Unix(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Site:
    """All servers, and what a client is given."""

    def __init__(self, folder, programs, tree):
        self.folder, self.programs, self.worker = folder, programs, os.path.join(programs, "examples/bench_worker")
        for name in ["boot", "run", "bin"]:
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        os.makedirs(os.path.join(folder, "boot/x86_64"), exist_ok=True)
        listed = []
        for name in ["kernel", "initrd.img"]:
            self.write("boot/x86_64/" + name, BOOT_FILE)
            listed.append({"file": "x86_64/" + name, "size": len(BOOT_FILE), "blake3": BOOT_FILE_HASH})
        self.write("boot/boot.json", json.dumps({"format": 1, "architectures": {}, "files": listed}))
        self.write("boot/x86_64/sysclone-agent", "played by the worker\n")
        self.write("sysclone.toml", CONFIG.format(folder, ADDRESS))
        self.write("bin/ssh", SSH.format(folder, self.worker, tree))
        self.write("rsyncd.conf", RSYNCD.format(folder, tree))
        os.chmod(os.path.join(folder, "bin/ssh"), 0o755)
        self.processes = []
        path = os.path.join(folder, "bin") + ":" + os.environ["PATH"]
        daemon = [os.path.join(programs, "syscloned"), "--config", os.path.join(folder, "sysclone.toml")]
        self.server = self.start(daemon, 8443, dict(os.environ, PATH=path))
        config = os.path.join(folder, "rsyncd.conf")
        rsync = ["rsync", "--daemon", "--no-detach", f"--config={config}", f"--port={RSYNC_PORT}"]
        self.rsyncd = self.start([*rsync, f"--address={ADDRESS}"], RSYNC_PORT)
        self.cli("mkdef", "-t", "node", "-o", "golden", "arch=x86_64", "ip=127.0.0.21", "groups=all")

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            file.write(text)

    def start(self, argv, port, environment=None):
        name = os.path.basename(argv[0]) + ".log"
        with open(os.path.join(self.folder, name), "ab") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log, env=environment)
        self.processes.append(process)
        await_port(port, process)
        return process.pid

    def start_web(self, folder):
        """A plain web server; its requests are processes that it waits for."""
        return self.start(["busybox", "httpd", "-f", "-p", f"{ADDRESS}:{WEB_PORT}", "-h", folder], WEB_PORT)

    def cli(self, *words, **options):
        socket_path = os.path.join(self.folder, "run/api.sock")
        program = os.path.join(self.programs, "sysclone")
        return run(program, *words, env=dict(os.environ, SYSCLONE_SOCKET=socket_path), **options)

    def capture(self, image):
        """As an administrator does. Answers the worker's peak of memory in MiB."""
        self.cli("imgcapture", "golden", "-t", "sysclone", "-o", image)
        with open(os.path.join(self.folder, "worker.log"), encoding="utf-8") as log:
            return peak(log.read())

    def access(self, image):
        """A folder with what an enrolled node knows of a generation; the manifest's size too."""
        connection = Unix(os.path.join(self.folder, "run/api.sock"))
        connection.request("GET", f"/api/v1/images/{image}")
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise Failed(f"{image}: {text.decode()}")
        access = json.loads(text)
        folder = os.path.join(self.folder, "access", access["image"])
        os.makedirs(folder, exist_ok=True)
        manifest = base64.b64decode(access.pop("manifest"))
        access["packs"] = f"http://{ADDRESS}:8080/packs"
        with open(os.path.join(folder, "manifest"), "wb") as file:
            file.write(manifest)
        with open(os.path.join(folder, "access.json"), "w", encoding="utf-8") as file:
            json.dump(access, file)
        return folder, len(manifest)

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()


def peak(text):
    """The worker's last word in its error output."""
    lines = [line for line in text.splitlines() if line.startswith("peak ")]
    if not lines:
        raise Failed(f"the worker did not end as it should: {text[-2000:]}")
    return int(lines[-1].split()[1]) / 1024
