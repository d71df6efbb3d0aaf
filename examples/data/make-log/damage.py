"""Writes malformed.log: the real log's first 50 lines, then damaged ones.

Usage: damage.py ACCESS_LOG MALFORMED_LOG

The damage is done to a real line, so each damaged line differs from a
well-formed one in exactly what its comment says.
"""

import sys

LONGEST = 65536  # examples/README.md: a longer line is malformed


def pad_agent(line, length):
    """The line with its agent stretched until the line has this many bytes."""
    return line[:-1] + b"x" * (length - len(line)) + b'"'


def damaged(line):
    """Lines that must each count as malformed and as nothing else."""
    head, request, mid, referer, gap, agent, _ = line.split(b'"')
    quoted = [b'"' + part + b'"' for part in (request, referer, agent)]
    status, size = mid.split()
    time = head[head.index(b"[") : head.index(b"]") + 1]

    def with_mid(text):
        return head + quoted[0] + text + b" ".join(quoted[1:])

    def with_target(target):
        return line.replace(b'"' + request, b'"GET ' + target + b" HTTP/1.1")

    # Cut: after every field, inside a quoted field, one byte short.
    for end in (1, 9, 14, 30, len(head), len(head) + 5, line.index(mid) + 2, line.index(mid) + 4, -1):
        yield line[:end]
    yield line[: -len(quoted[2])]
    # Torn writes: half a line or a whole one, and the next one on the same line.
    yield line[: len(head) + 9] + line
    yield line + line
    yield b""
    yield b" "
    yield b"\t\t\t"
    yield b"not a log line at all"
    yield b"\x00\x01\x02\x03\xff\xfe\x80" * 9
    yield bytes(b for b in range(256) if b != 0x0A)
    yield b"\x7fELF\x02\x01\x01" + b"\x00" * 40
    yield b"A" * LONGEST
    yield pad_agent(line, LONGEST + 1)
    # A NUL in an otherwise good line; a carriage return before the line end.
    yield line.replace(b'"' + agent, b'"\x00' + agent)
    yield line + b"\r"
    # Quotes: none, one missing in each place, one too many, escaped at the end.
    yield line.replace(b'"', b"")
    for place in (i for i, byte in enumerate(line) if byte == ord('"')):
        yield line[:place] + line[place + 1 :]
    yield line + b'"'
    yield line[:-1] + b'\\"'
    yield line + b' "extra"'
    yield line.replace(b'"' + agent, b'"inner " quote')
    # Status and bytes.
    for bad in (b"abc", b"20", b"2000", b"099", b"600", b"-200", b"2x0", b"", b"\xd9\xa2\xd9\xa0\xd9\xa0"):
        yield with_mid(b" " + bad + b" " + size + b" ")
    for bad in (b"abc", b"-1", b"1.5", b"1e3", b"0x10", b"", b"--", b"+5", b"1234567890123456"):
        yield with_mid(b" " + status + b" " + bad + b" ")
    yield with_mid(b"  " + status + b" " + size + b" ")
    # The fields before the request.
    yield line.replace(b" - - ", b" - ", 1)
    yield line.replace(b" - - ", b" x - ", 1)
    yield line[line.index(b" ") :]
    yield line.replace(time, b"[]")
    yield line.replace(time, b"[yesterday]")
    yield line.replace(time, time[:-1])
    yield line.replace(time, time[1:])
    # Routes that are not UTF-8, escaped as nginx does it and raw.
    for bad in (rb"/caf\xE9", rb"/\xC0\xAF", rb"/\xED\xA0\x80", rb"/a/b/c\xFF", b"/caf\xe9"):
        yield with_target(bad)


def hostile(line):
    """Well-formed lines that nginx would hardly write; each must count."""
    head, request, *rest = line.split(b'"')
    targets = [
        rb"/new\x0Aline/and\x0D\x0Areturn",
        rb"/nul\x00here",
        rb"/slash\x2Fescaped/third",
        rb"/caf\xc3\xa9/lower-case-hex",
        rb"/double\\backslash/quote\"here",
        rb"/odd\qescape/\x4",
        "/raw/茶".encode(),
        rb"/query?\xE9\xFF",
        rb"/\xE2\x80\xAE/\xEF\xBB\xBFbom",
        rb"///",
    ]
    for target in targets:
        yield b'"'.join([head, b"GET " + target + b" HTTP/1.1", *rest])
    for odd in (b"", b"-", b"GET", b"GET /", b"GET / FTP/1.0", b"GET /a b HTTP/1.1", b"GET  HTTP/1.1"):
        yield b'"'.join([head, odd, *rest])
    yield line.replace(b'" 200 ', b'" 101 ')
    yield line.replace(b'" 200 48 ', b'" 200 - ')
    # 15 digits: the largest number of bytes, and the sum still exact as an f64.
    yield line.replace(b'" 200 48 ', b'" 200 999999999999999 ')
    yield line[:-1] + rb' \"quoted\" \\"'
    # Torn inside the time: the half looks like a user's name, which may hold spaces.
    yield line[: line.index(b"] ")] + line
    yield pad_agent(line, LONGEST)


def main():
    with open(sys.argv[1], "rb") as log:
        head = [log.readline().rstrip(b"\n") for _ in range(50)]
    model = next(line for line in head if b'"GET / HTTP/1.1" 200 ' in line and not line.endswith(b'"-"'))
    lines = head + list(damaged(model)) + list(hostile(model))
    with open(sys.argv[2], "wb") as out:
        out.write(b"\n".join(lines))
        # The last line of a log that is being written: no line end yet.
        out.write(b"\n" + model[:60])


if __name__ == "__main__":
    main()
