#!/usr/bin/env bash
# Writes the first inputs of the fuzz targets from what real programs make. (Those of the image format come from
# `cargo test -p sysclone-image first_inputs -- --ignored`.)
set -euo pipefail
cd "$(dirname "$0")/corpus"
work=$(mktemp -d); trap 'rm -r "$work"' EXIT
id=01234567-89ab-4cde-8f01-23456789abcd

# superblock: a byte that says where, then the block.
block() { # name place offset length < device
    mkdir -p superblock
    { printf "%b" "\\x0$2"; dd if="$work/disk" bs=1 skip="$3" count="$4" status=none; } > "superblock/$1"
}
make() { rm -f "$work/disk"; truncate -s "$1" "$work/disk"; "${@:2}" "$work/disk" > /dev/null 2>&1; }
make 64M mke2fs -q -t ext4 -U $id -L label;                   block ext4 1 1024 1024
make 64M mke2fs -q -t ext3 -U $id;                            block ext3 1 1024 1024
make 400M mkfs.xfs -q -m uuid=$id -L label;                   block xfs 0 0 512
make 400M mkfs.xfs -q -m crc=0 -n ftype=0;                    block xfs-old 0 0 512
make 400M mkfs.btrfs -q -U $id -L label;                      block btrfs 2 65536 4096
make 8M mkswap -U $id -L label;                               block swap 0 0 4096
make 8M mkfs.vfat -i 89abcdef -n LABEL;                       block vfat 0 0 24576
make 64M mkfs.vfat -F 32 -s 1 -n LABEL;                       block vfat32 0 0 20480

# partition_table
table() { # name bytes script
    mkdir -p partition_table; rm -f "$work/disk"; truncate -s 100M "$work/disk"
    printf "%b" "$3" | sfdisk -q "$work/disk" > /dev/null
    head -c "$2" "$work/disk" > "partition_table/$1"
}
table gpt 2560 "label: gpt\nlabel-id: $id\nsize=1MiB, type=21686148-6449-6E6F-744E-656564454649, uuid=$id\nsize=20MiB, uuid=$id, attrs=\"LegacyBIOSBootable\"\nuuid=$id\n"
table mbr 1024 "label: dos\nlabel-id: 0x1234abcd\nsize=10MiB, type=83, bootable\nsize=20MiB, type=8e\n"
table logical 40960 "label: dos\nlabel-id: 0x1234abcd\nunit: sectors\nstart=8, size=400, type=5\nstart=10, size=20, type=83\nstart=40, size=20, type=82\n"
python3 - <<'PY'
# A GPT with four entries only, so that an input stays short; the checksums are mended by the target.
disk = bytearray(open("partition_table/gpt", "rb").read())
disk[512 + 80:512 + 84] = (4).to_bytes(4, "little")
open("partition_table/gpt", "wb").write(disk[:512 * 2 + 4 * 128])
PY

# initramfs: early archive, then a compressed one.
mkdir -p initramfs "$work/tree/lib/modules/6.1/kernel/drivers"
touch "$work/tree/lib/modules/6.1/kernel/drivers/virtio_blk.ko" "$work/tree/lib/modules/6.1/kernel/drivers/ahci.ko.xz"
archive() { (cd "$work/tree" && find . | sort | cpio -o -H newc --reproducible 2> /dev/null); }
archive > initramfs/plain
{ archive | head -c 1024; archive | gzip -9; } > initramfs/cut-then-gzip
{ archive; archive | zstd -q; } > initramfs/early-then-zstd
archive | gzip -9 > initramfs/gzip

mkdir -p mount_table kernel_command_line excludes message install_plan tftp_packet dhcp_packet http_range
cat > mount_table/host <<'T'
22 1 253:1 / / rw,relatime shared:1 - ext4 /dev/mapper/vg0-root rw
25 22 0:5 / /proc rw - proc proc rw
26 22 254:2 / /boot rw - ext4 /dev/vda2 rw
29 22 8:1 / /a\040b\134 rw - xfs /dev/sda1 rw
30 22 0:33 /@home /home rw - btrfs /dev/sdb rw
T
printf 'BOOT_IMAGE=x sysclone.server=10.0.0.1:8443 sysclone.node=node1 sysclone.ip=10.0.0.11/24 sysclone.gateway=10.0.0.254 sysclone.ticket=abc BOOTIF=01-52-54-00-00-00-01' > kernel_command_line/first
# tftp_packet
printf '\0\1boot/kernel\0octet\0blksize\0001468\0tsize\0000\0windowsize\00016\0timeout\0003\0' > tftp_packet/read
printf '\0\3\0\1data' > tftp_packet/data
printf '\0\4\0\2' > tftp_packet/ack
printf '\0\5\0\10User aborted the transfer\0' > tftp_packet/error
printf '\0\6blksize\0001468\0' > tftp_packet/oack
for fixture in ../../server/src/dhcp/fixtures/*.hex; do
    grep -v '^#' "$fixture" | xxd -r -p > "dhcp_packet/$(basename "$fixture" .hex)"
done
length='\0\0\020\0\0\0\0\0'
printf "${length}bytes=0-499" > http_range/first
printf "${length}bytes=-500" > http_range/last
printf "${length}bytes=9500-" > http_range/rest
printf "${length}bytes=0-0,5-9" > http_range/several

# Messages, plans and definitions, as people would write them.
mkdir -p node_range definition
python3 - <<'PY'
import json

def message(name, body):
    open(f"message/{name}", "w").write(name + "\n" + json.dumps(body))

mac, image = "52:54:00:00:00:01", {"name": "golden", "generation": 3}
disk = {"name": "vda", "size_bytes": 8 << 30, "sector_bytes": 512, "transport": "virtio", "serial": "s1"}
inventory = {"uuid": "01234567", "arch": "x86_64", "firmware": "bios", "memory_bytes": 1 << 30,
             "nics": [{"name": "eth0", "mac": mac, "link": True}], "disks": [disk]}
message("EnrollRequest", {"node": "node1", "ticket": "t", "boot_mac": mac, "inventory": inventory,
                          "agent_version": "0.1.0", "attempt": "a"})
message("InstallOrder", {"job": "j", "token": "t", "report_token": "r", "node": "node1", "hostname": "node1.x",
                         "image": image, "image_key": "AA==", "manifest_key": "AA==", "now": 1,
                         "pack_sources": ["http://10.0.0.1/packs"], "disk_rules": {"vda": {"serial": "s1"}}})
message("AgentEvent", {"phase": "pull", "event": "progress", "done": 1, "total": 2})
message("EventReply", {"abort": True})
message("BootReport", {"node": "node1", "job": "j", "image": image, "kernel": "6.1", "boot_id": "b",
                       "root_device": "/dev/vda1", "hostname": "node1"})
message("CaptureOrder", {"server": "https://10.0.0.1", "ca_pem": "", "token": "t", "image": image, "image_key": "",
                         "manifest_key": "", "pack_source": "http://10.0.0.1", "excludes": ["/x"]})
message("CaptureLine", {"capture": "finished", "image": image, "entries": 1, "bytes": 2, "new_bytes": 3})
message("CaptureReply", {"image": image, "entries": 1, "bytes": 2, "new_bytes": 3})
message("StagedPacks", {"packs": ["00" * 32]})
message("ErrorReply", {"error": "no"})

def part(number, start, size, grow, type_id="83"):
    return {"number": number, "start_bytes": start, "size_bytes": size, "type_id": type_id, "grow": grow}

def on(number):
    return {"on": "partition", "disk": "vda", "number": number}

def plan(name, kind, parts, groups, filesystems, rules):
    layout = {"disks": [{"name": "vda", "size_bytes": 4 << 30, "sector_bytes": 512,
                         "table": {"kind": kind, "id": None, "partitions": parts}}],
              "volume_groups": groups, "filesystems": filesystems}
    text = {"layout": layout, "inventory": inventory, "rules": rules}
    open(f"install_plan/{name}", "w").write(json.dumps(text, separators=(",", ":")))

MIB = 1 << 20
def fs(device, kind, at, used):
    return {"device": device, "kind": kind, "mount_point": at, "used_bytes": used}

lv = {"on": "logical-volume", "group": "vg", "volume": "root"}
group = {"name": "vg", "uuid": "u", "extent_bytes": 4 * MIB, "physical_volumes": [{"device": on(2), "uuid": "u"}],
         "logical_volumes": [{"name": "root", "size_bytes": 1 << 30, "segment_type": "linear",
                              "grow": {"policy": "keep"}}]}
plan("lvm", "dos", [part(1, MIB, 200 * MIB, {"policy": "fixed"}),
                    part(2, 201 * MIB, 3 << 30, {"policy": "share", "weight": 3}, "8e")],
     [group], [fs(on(1), "ext4", "/boot", 90 * MIB), fs(lv, "ext4", "/", 600 * MIB)], {"": {"serial": "s1"}})
plan("logical", "dos", [part(1, MIB, 2 << 30, {"policy": "share", "weight": 1}, "5"),
                        part(5, 2 * MIB, 100 * MIB, {"policy": "fixed"}),
                        part(6, 103 * MIB, 1 << 30, {"policy": "share", "weight": 1})],
     [], [fs(on(5), "swap", None, 0), fs(on(6), "xfs", "/", 500 * MIB)], {})
plan("gpt", "gpt", [part(1, MIB, MIB, {"policy": "fixed"}), part(2, 2 * MIB, 2 << 30, {"policy": "keep"})],
     [], [fs(on(2), "btrfs", "/", 500 * MIB)], {"vda": {"min_bytes": 1 << 30}})

for number, text in enumerate(["node1-node4,-node2", "node[1-3,7]rack[01-10]", "@all,^node1", "node1+3", "all@node[1-2]",
                               "arch==x86_64", "arch=~x86.*,-/node[34]/", "(node1,node2)@all", "r1n01:r1n10"]):
    open(f"node_range/{number}", "w").write(text)
open("definition/rules", "w").write("vda:serial=s1,min=10G;vdb:transport=nvme,path=pci-0000:00:1f.2-ata-1")
open("definition/config", "w").write("state_dir='/var/lib/x'\n[listen]\naddress = '10.0.0.1'\n[deploy]\nticket_hours = 5\n")
open("definition/range", "w").write('{"noderange":"all","attributes":["arch"]}')
PY
