"""Prints which parts of every file below a directory are data and which are allocated, as the kernel says.

One line for each file: path as hexadecimal digits, size, data ranges by SEEK_DATA, allocated ranges by FIEMAP
(documented in the kernel's filesystems/fiemap). Ranges are start-end in bytes. Shares no code with what it judges.
"""

import errno
import fcntl
import os
import stat
import struct
import sys

FS_IOC_FIEMAP = 0xC020660B
FLAG_LAST = 1
COUNT = 512


def data(fd, size):
    ranges, at = [], 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        at = os.lseek(fd, start, os.SEEK_HOLE)
        ranges.append((start, at))
    return ranges


def allocated(fd, size):
    ranges, at, last = [], 0, False
    while not last:
        reply = bytearray(32 + 56 * COUNT)
        struct.pack_into("=QQIIII", reply, 0, at, (1 << 64) - 1 - at, 0, 0, COUNT, 0)
        fcntl.ioctl(fd, FS_IOC_FIEMAP, reply)
        mapped = struct.unpack_from("=I", reply, 20)[0]
        if mapped == 0:
            break
        for n in range(mapped):
            start, _, length, _, _, flags = struct.unpack_from("=QQQQQI", reply, 32 + 56 * n)
            last = bool(flags & FLAG_LAST)
            at = start + length
            if start >= size:
                continue
            if ranges and ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], at)
            else:
                ranges.append((start, at))
    return ranges


def text(ranges):
    return ",".join(f"{start}-{end}" for start, end in ranges) or "none"


root = os.fsencode(sys.argv[1])
for directory, _, names in os.walk(root):
    for name in names:
        path = os.path.join(directory, name)
        if not stat.S_ISREG(os.lstat(path).st_mode):
            continue
        fd = os.open(path, os.O_RDONLY)
        size = os.fstat(fd).st_size
        print(os.path.relpath(path, root).hex(), size, text(data(fd, size)), text(allocated(fd, size)))
        os.close(fd)
