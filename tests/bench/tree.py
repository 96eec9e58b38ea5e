"""The tree that is measured: part of this machine's /usr, in the order of names, and generated files. The same source
and seed make the same tree."""

import os
import random
import shutil
import stat
import struct

SOURCES = ["bin", "include", "lib/python3", "share", "lib/x86_64-linux-gnu", "lib"]
LARGEST = 64 << 20
EPOCH = 1_600_000_000
WORDS = [f"{a}{b}" for a in "ka lo mi nu pe ra se ti vo xu".split() for b in "ban der fin gor hul jet".split()]


def make(root, source, files, size):
    """Fills `root` with about this many files and at least this many bytes."""
    chance = random.Random(7)
    os.makedirs(root)
    # A fifth of the files and a sixth of the bytes are generated, more where the source has too little.
    count, total = copy(source, os.path.join(root, "usr"), files * 4 // 5, size * 5 // 6)
    small = max(files - count, 100)
    total = small_files(os.path.join(root, "srv/data"), chance, small, total)
    total = large_files(os.path.join(root, "srv/large"), chance, size, total)
    odd_files(root, chance)
    return count + small, total


def copy(source, root, files, size):
    """Copies regular files and links until there are enough; each directory's files in the order of names."""
    count = total = 0
    seen = set()
    for part in SOURCES:
        for folder, folders, names in os.walk(os.path.join(source, part)):
            folders.sort()
            target = os.path.join(root, os.path.relpath(folder, source))
            os.makedirs(target, exist_ok=True)
            for name in sorted(names):
                path = os.path.join(folder, name)
                info = os.lstat(path)
                if path in seen or count >= files or total + info.st_size > size or info.st_size > LARGEST:
                    continue
                seen.add(path)
                copied = os.path.join(target, name)
                if os.path.lexists(copied):
                    continue
                if stat.S_ISLNK(info.st_mode):
                    os.symlink(os.readlink(path), copied)
                elif stat.S_ISREG(info.st_mode):
                    shutil.copyfile(path, copied)
                    os.chmod(copied, stat.S_IMODE(info.st_mode))
                    os.utime(copied, ns=(info.st_mtime_ns, info.st_mtime_ns))
                    total += info.st_size
                    count += 1
    return count, total


def text(chance, size):
    """Lines such as logs and configurations have; they pack to about a third."""
    lines = []
    while size > 0:
        words = " ".join(chance.choices(WORDS, k=9))
        line = f"{chance.randrange(1 << 30):010d} {words} = {chance.randrange(100_000)}\n"
        lines.append(line)
        size -= len(line)
    return "".join(lines).encode()


def put(path, content, chance):
    with open(path, "xb") as file:
        file.write(content)
    time = (EPOCH + chance.randrange(100_000_000)) * 10**9 + chance.randrange(10**9)
    os.utime(path, ns=(time, time))


def small_files(root, chance, files, total):
    sample = text(chance, 4 << 20)
    for number in range(files):
        folder = os.path.join(root, f"{number // 200:03d}")
        os.makedirs(folder, exist_ok=True)
        size = min(int(chance.lognormvariate(8, 1.2)), 200_000)
        start = chance.randrange(len(sample) - size)
        head = f"file {number}\n".encode()
        put(os.path.join(folder, f"{number:06d}.conf"), head + sample[start : start + size], chance)
        total += size + len(head)
    return total


def large_files(root, chance, size, total):
    """One file of 100 MB, then text and noise in turns, as in databases and archives."""
    os.makedirs(root)
    put(os.path.join(root, "base.dat"), mixed(chance, 100_000_000), chance)
    total += 100_000_000
    number = 0
    while total < size:
        length = chance.randrange(1 << 20, 24 << 20)
        put(os.path.join(root, f"{number:03d}.dat"), mixed(chance, length), chance)
        total += length
        number += 1
    return total


def mixed(chance, size):
    parts, sample = [], text(chance, 1 << 20)
    while size > 0:
        length = min(size, chance.randrange(4096, 1 << 20))
        if chance.random() < 0.4:
            parts.append(chance.randbytes(length))
        else:
            start = chance.randrange(len(sample))
            parts.append((sample[start:] + sample[:start])[:length])
        size -= length
    return b"".join(parts)


def odd_files(root, chance):
    """Hard links, sparse files, extended attributes, ACLs, a capability, devices, pipes."""
    data = os.path.join(root, "srv/data")
    odd = os.path.join(root, "srv/odd")
    os.makedirs(odd)
    plain = sorted(os.path.join(d, n) for d, _, names in os.walk(data) for n in names)
    for number, path in enumerate(plain[::40]):
        os.link(path, os.path.join(odd, f"link-{number:05d}"))
    for path in plain[1::50]:
        os.setxattr(path, "user.origin", b"generated " + os.path.basename(path).encode())
    # user::rw- user:1000:r-- group::r-- mask::r-- other::---
    entries = [(1, 6, 0xFFFFFFFF), (2, 4, 1000), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    for path in plain[2::100]:
        os.setxattr(path, "system.posix_acl_access", acl)
    for path in plain[3::20]:
        os.chown(path, 1000 + chance.randrange(5), 100)
    os.setxattr(plain[4], "security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0))
    for number in range(16):
        with open(os.path.join(odd, f"sparse-{number:02d}"), "xb") as file:
            for block in range(4):
                file.seek(block << 20)
                file.write(chance.randbytes(8192))
            file.truncate(5 << 20)
    os.mkfifo(os.path.join(odd, "pipe"))
    os.mknod(os.path.join(odd, "null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))


def regular(root):
    """Regular files with one name, in order."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            info = os.lstat(path)
            if stat.S_ISREG(info.st_mode) and info.st_nlink == 1 and info.st_size:
                yield path, info.st_size


def change(root):
    """Changes every hundredth file: a line is inserted in its middle, or it grows. Answers their bytes."""
    changed = 0
    for number, (path, size) in enumerate(list(regular(root))[50::100]):
        with open(path, "rb") as file:
            content = file.read()
        line = f"changed, number {number} of many\n".encode()
        middle = size // 2 if number % 3 else size
        with open(path, "r+b") as file:
            file.write(content[:middle] + line + content[middle:])
        changed += size + len(line)
    return changed


def rename(root):
    """Gives a directory with many files another name."""
    os.rename(os.path.join(root, "usr/share/doc"), os.path.join(root, "usr/share/doc-renamed"))


def poke(root):
    """Changes 4 KiB in the middle of the file of 100 MB."""
    with open(os.path.join(root, "srv/large/base.dat"), "r+b") as file:
        file.seek(50_000_000)
        file.write(random.Random(8).randbytes(4096))
