"""Programs, processor time, bytes on the loopback interface, and file systems to write to."""

import os
import shutil
import statistics
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A program failed; its words are in the log."""


def run(*argv, **options):
    """Runs a program that must succeed and answers what it prints."""
    argv = [str(word) for word in argv]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **options)
    if done.returncode:
        raise Failed(f"{' '.join(argv)}: status {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout.decode(errors="replace")


def cpu(pid):
    """Processor seconds of a process and of its children that have ended."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICK


def wire():
    """Bytes that the loopback interface has carried. It is this measurement's own."""
    with open("/proc/net/dev", encoding="ascii") as file:
        [line] = [line for line in file if line.strip().startswith("lo:")]
    return int(line.partition(":")[2].split()[8])


class Run:
    """One measured piece of work: `with Run(server) as run: …`, then its figures."""

    def __init__(self, server=None):
        self.server = server

    def __enter__(self):
        os.sync()
        self.start, self.bytes = time.monotonic(), wire()
        self.cpu = cpu(self.server) if self.server else 0
        return self

    def __exit__(self, *_error):
        self.wall = time.monotonic() - self.start
        self.bytes = wire() - self.bytes
        self.cpu = cpu(self.server) - self.cpu if self.server else 0

    def figures(self, **more):
        return {"wall": self.wall, "cpu": self.cpu, "wire": self.bytes, **more}


class Volume:
    """An ext4 in a file, mounted through a loop device."""

    def __init__(self, folder, name, size="8G", content=None):
        self.file, self.path = os.path.join(folder, name + ".img"), os.path.join(folder, name)
        os.makedirs(self.path, exist_ok=True)
        if content:
            run("cp", "--sparse=always", content, self.file)
        else:
            run("truncate", "-s", size, self.file)
            # Nothing is left for the kernel to do in the background while something is measured.
            run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.file)
        run("mount", "-o", "loop", self.file, self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.unmount()
        os.unlink(self.file)

    def unmount(self):
        run("umount", self.path)

    def settle(self):
        """Waits until all of it is on the disk."""
        run("sync", "-f", self.path)


def medians(runs):
    """The median of each figure."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def need(programs):
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        raise Failed(f"these programs are missing, install their Debian packages: {' '.join(missing)}")
