"""tests/support/records.py - what lies in a node's log, by the byte map of
wal/record.h: for looking at what no command shows."""
import os
import struct

from runner import expect

MAGIC = b"TMKREC\r\n"
HEADER_BYTES = 256
PREPARED, RESOLVE, ABORT = 1, 2, 4


class Record:
    def __init__(self, header):
        (self.flags,) = struct.unpack_from("<I", header, 12)
        self.epoch, self.first, self.last = struct.unpack_from("<QQQ", header,
                                                               32)
        (self.commit_ns,) = struct.unpack_from("<Q", header, 88)
        (self.pages, self.part, self.parts, self.wal_frame) = \
            struct.unpack_from("<IIII", header, 104)
        self.wal = header[116:136]
        (self.stored,) = struct.unpack_from("<Q", header, 144)
        self.bytes = HEADER_BYTES + 4 * self.pages + self.stored + 8


def in_segment(path):
    with open(path, "rb") as file:
        content = file.read()
    at = content.find(MAGIC)
    while at >= 0 and at + HEADER_BYTES <= len(content):
        expect(content[at:at + 8] == MAGIC, "no record at %d" % at)
        record = Record(content[at:at + HEADER_BYTES])
        yield record
        at += record.bytes
        if at == len(content):
            return


def of(node, database):
    """All records of that database on that node, oldest first."""
    (folder,) = [os.path.join(node.data, "db", lineage, "log")
                 for lineage in os.listdir(os.path.join(node.data, "db"))
                 if has_name(node, lineage, database)]
    names = sorted((name for name in os.listdir(folder)
                    if name.endswith(".seg")),
                   key=lambda name: name.partition("-")[2])
    return [record for name in names
            for record in in_segment(os.path.join(folder, name))]


def has_name(node, lineage, database):
    with open(os.path.join(node.data, "db", lineage, "meta"), "rb") as file:
        return database.encode() in file.read()


def decisions(node, database):
    """The story of prepared commits, as (what, TXID)."""
    words = {PREPARED: "prepared", RESOLVE: "commit", RESOLVE | ABORT: "abort"}
    return [(words[record.flags], record.last)
            for record in of(node, database) if record.flags in words and
            record.part == record.parts]
