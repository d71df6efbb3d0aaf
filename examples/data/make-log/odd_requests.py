"""Sends the odd requests over raw sockets: what no polite client would send.

Usage: odd_requests.py PORT WORK first|second

Every request goes to a real nginx, which writes the log line; nothing here
writes to the log. WORK is where the mute upstream's socket is created.
"""

import base64
import os
import socket
import ssl
import sys


def exchange(port, data, source="127.0.0.1", read=True, half_close=False):
    """Sends the bytes on a connection of their own; reads until nginx closes."""
    with socket.create_connection(("127.0.0.1", port), 10, (source, 0)) as s:
        s.sendall(data)
        if half_close:
            s.shutdown(socket.SHUT_WR)
        answer = b""
        while read:
            try:
                part = s.recv(65536)
            except ConnectionResetError:
                break
            if not part:
                break
            answer += part
        return answer


def request(target, method=b"GET", version=b"HTTP/1.1", headers=(), body=b""):
    """A request as bytes; the target goes out as it is, however wrong."""
    lines = [method + b" " + target + b" " + version, b"Host: shop.example", b"Connection: close", *headers]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def basic(user):
    return b"Authorization: Basic " + base64.b64encode(user.encode() + b":x")


def client_hello():
    """What a browser sends first when it takes the plain port for a TLS one."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="shop.example")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


UTF8_PATHS = [
    "/日本語/メニュー".encode(),
    "/café/crème".encode(),
    "/кофе".encode(),
    "/茶/42".encode(),
    "/emoji/🍵🫖".encode(),
    "/zero\u200bwidth".encode(),
    "/rtl/\u202egnp.exe".encode(),
    "/line\u2028separator".encode(),
    "/nel\u0085here".encode(),
    "/e\u0301-combining".encode(),
    "/٣٤/digits-that-are-not-ascii".encode(),
    b"/%E6%97%A5%E6%9C%AC%E8%AA%9E/%E3%83%A1",
    b"/caf%C3%A9/cr%C3%A8me",
    b"/caf%e9",
    b"/search?q=\xc3\xa9t\xc3\xa9",
]
INVALID_UTF8 = [
    b"/latin1/caf\xe9",
    b"/\xff\xfe/bom",
    b"/overlong/\xc0\xaf",
    b"/surrogate/\xed\xa0\x80",
    b"/beyond/\xf4\x90\x80\x80",
    b"/cut/\xe6\x97",
    b"/third/segment/\xe9",
    # In the query the bytes are nobody's business: the line is well-formed.
    b"/search?q=caf\xe9",
]
PUNCTUATION = [
    b"/=SUM(A1)",
    b"/=SUM(A1)/=cmd|' /C calc'!A0",
    b"/=HYPERLINK(\"http://x.example\",\"y\")",
    b"/+1+1",
    b"/-1",
    b"/@SUM(A1)",
    b"/{}",
    b"/,",
    b"/{a=\"b\",c=\"d\"}",
    b"/a,b;c/d|e",
    b"/a|b:c,d#e@f",
    b"/a_b_c_d#e@f",
    b"/key=value:1|c|#tag:1",
    b"/quote\"in\"path",
    b"/it's",
    b"/back\\slash\\path",
    b"/looks\\x41escaped",
    b"/looks\\x22escaped\\n",
    b"/trailing\\",
    b"/<script>alert(1)</script>",
    b"/${jndi:ldap://x.example/a}",
    b"/`id`/$(id)",
    b"/# HELP x y",
    b"/NaN",
    b"/+Inf",
    b"/[::1]/~tilde^caret",
    b"/%22quoted%22,%0a",
    b"/tab%09here",
    b"/newline%0Ahere",
    b"/cr%0D%0ASet-Cookie:%20x",
    b"/nul%00here",
    b"/bad%zzpercent",
]
CONTROL = [
    b"/raw\ttab",
    b"/raw\x01control",
    b"/raw\x7fdelete",
    b"/raw\x1b[31mred",
    b"/raw\x00nul",
    b"/raw\nnewline",
    b"/raw\rreturn",
    b"/with a space",
    b"//double//slash//",
    b"//",
    b"/./dot/../dots",
    b"/../../etc/passwd",
    b"/..%2f..%2fetc/passwd",
    b"/?",
    b"/?a=/b/c?d",
    b"/path?x=\"quoted\"&y=\\",
    b"/path#fragment?x",
    b"/00012/0",
    b"/12a/34",
    b"/123456789012345678901234567890",
    b"http://shop.example/absolute/form",
    b"http://shop.example",
    b"no-leading-slash",
    b"*",
    b"",
]
LONG = [
    b"/long/" + b"a" * 3000,
    # The 120th byte falls inside a character of two, three and four bytes.
    "/".encode() + "é".encode() * 200,
    "/x".encode() + "茶".encode() * 90,
    "/".encode() + "🍵".encode() * 60,
    b"/exact/" + b"b" * 113,
    b"/exact/" + b"b" * 114,
    b"/long?q=" + b"q" * 5000,
    # More than the 8 KiB that nginx takes: 414, and no version in the log.
    b"/too-long/" + b"z" * 9000,
]
AGENTS = [
    b'Mozilla "quoted" agent',
    b"C:\\Program Files\\agent\\",
    b'\\"',
    b"tab\there",
    "чай/1.0 (☕)".encode(),
    b"latin1 caf\xe9",
    b"() { :; }; echo vulnerable",
    b"${jndi:ldap://x.example/a}",
    b'x" 200 1 "forged" "',
    b"=cmd|' /C calc'!A0",
    b"",
]
REFERERS = [
    b'https://x.example/?q="quoted"',
    b"https://x.example/back\\slash",
    "https://x.example/茶".encode(),
    b"\xff\xfe",
    b"",
]
USERS = [
    "alice",
    "alice smith",
    "a [b",
    "a] [c",
    'x [21/Nov/2026:00:00:00 +0000] "GET /forged HTTP/1.1" 200 5 "-" "-',
    "Ünïcödé",
    "back\\slash",
    " ",
]


def first(port, work):
    for target in UTF8_PATHS + INVALID_UTF8:
        exchange(port, request(target))
    for target in PUNCTUATION:
        exchange(port, request(target), "127.0.0.5")
    for agent in AGENTS:
        exchange(port, request(b"/agent", headers=[b"User-Agent: " + agent]))
    for referer in REFERERS:
        exchange(port, request(b"/referer", headers=[b"Referer: " + referer]))
    for user in USERS:
        exchange(port, request(b"/account", headers=[basic(user)]))
    for method in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"):
        for target in (b"/", b"/api/users/7", b"/admin"):
            exchange(port, request(target, method))
    for method in (b"TRACE", b"CONNECT", b"PROPFIND", b"FOO", b"get", b"G-E_T", b"BREW" * 10):
        exchange(port, request(b"/teapot", method))


def second(port, work):
    for target in CONTROL:
        # After a raw newline nginx takes the line for HTTP/0.9 and answers at once.
        exchange(port, request(target), "127.0.0.6")
    for target in LONG:
        exchange(port, request(target))
    for version in (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/9", b"HTTQ/1.1", b"http/1.1", b""):
        exchange(port, request(b"/version", version=version))
    exchange(port, b"GET /nine\r\n")
    exchange(port, b"GET  /two-spaces  HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    exchange(port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    for _ in range(3):
        exchange(port, client_hello(), "127.0.0.7")
    exchange(port, b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    exchange(port, bytes(range(256)))
    exchange(port, b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00")
    # Empty requests: nothing, line ends alone, half a line and gone.
    exchange(port, b"", half_close=True)
    exchange(port, b"\r\n\r\n", half_close=True)
    exchange(port, b"GET /half", half_close=True)
    # Silence until nginx loses patience: 408.
    exchange(port, b"")
    exchange(port, b"GET /slow HTTP/1.1\r\nHost: x\r\n")
    # Headers that make the answer odd: 206, 304, 416, 413, 400, 501, 405.
    exchange(port, request(b"/download/4096.bin", headers=[b"Range: bytes=0-99"]))
    exchange(port, request(b"/download/4096.bin", headers=[b"Range: bytes=0-9,20-29"]))
    exchange(port, request(b"/download/4096.bin", headers=[b"Range: bytes=9000-"]))
    modified = exchange(port, request(b"/static/app.js", b"HEAD")).split(b"Last-Modified: ")[1].split(b"\r\n")[0]
    exchange(port, request(b"/static/app.js", headers=[b"If-Modified-Since: " + modified]))
    exchange(port, request(b"/index.html", b"POST", headers=[b"Content-Length: 9999999"]))
    exchange(port, request(b"/api/orders", b"POST", headers=[b"Content-Length: nine"]))
    exchange(port, request(b"/api/orders", b"POST", headers=[b"Transfer-Encoding: wishful"]))
    exchange(port, request(b"/api/orders", b"POST", body=b'{"n":1}'))
    exchange(port, b"GET /no-host HTTP/1.1\r\nConnection: close\r\n\r\n")
    exchange(port, request(b"/big-header", headers=[b"X: " + b"y" * 9000]))
    exchange(port, request(b"/agent", headers=[b"User-Agent: control\x01here"]))
    exchange(port, request(b"/agent", headers=[b"User-Agent: " + b"long " * 400]))
    exchange(port, request(b"/silence"))
    exchange(port, request(b"/teapot"))
    pipelined = b"GET /pipelined/%d HTTP/1.1\r\nHost: x\r\n\r\n"
    exchange(port, b"".join(pipelined % n for n in range(3)) + request(b"/pipelined/last"))
    exchange(port, request(b"/upstream/gone/1"))
    mute = socket.socket(socket.AF_UNIX)
    mute.bind(os.path.join(work, "mute.sock"))
    mute.listen(8)
    os.chmod(os.path.join(work, "mute.sock"), 0o777)
    exchange(port, request(b"/upstream/mute/1"))
    exchange(port, request(b"/upstream/mute/2"), read=False)
    # The 499 is written when nginx notices the client's leaving; the upstream
    # has to stay mute, not gone, until then.
    exchange(port, request(b"/upstream/mute/3"))


if __name__ == "__main__":
    {"first": first, "second": second}[sys.argv[3]](int(sys.argv[1]), sys.argv[2])
