#!/usr/bin/env python3
"""tests/guest/net_test.py LAMINA [CASE]: networks and sockets of the default guest.

The networks are made here: the test goes into network, mount and user namespaces of its own, with a
second network behind a veth pair in which a name server and two services run. No packet leaves the host.
"""
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from lamina_run import Failed, main, skip, start, want

BLOB = hashlib.sha256(b"lamina").digest() * 100000  # 3.2 MB
BLOB_SUM = hashlib.sha256(BLOB).hexdigest()
GIVES, TAKES = 7001, 7002  # ports of the far host: it sends BLOB, it answers with the sum of what it got
INSIDE = "LAMINA_NET_TEST_INSIDE"

# A server for one connection in the guest, in what its Debian has: perl-base.
SERVE = r"""perl -MSocket -e 'socket(L,AF_INET,SOCK_STREAM,0); setsockopt(L,SOL_SOCKET,SO_REUSEADDR,1);
bind(L,sockaddr_in(80,INADDR_ANY)) or die; listen(L,5); $|=1; print "serving\n"; for (1..%d) { accept(C,L);
my $n=0; while (sysread(C,$x,65536)) { $n+=length $x } syswrite(C,"got $n"); close C }'"""


def run(*words, **options):
    return subprocess.run(words, check=True, **options)


# ---- The far host ----

def serve(family, port, handle):
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind(("", port))
    s.listen()

    def forever():
        while True:
            c, _ = s.accept()
            threading.Thread(target=handle, args=(c,), daemon=True).start()
    threading.Thread(target=forever, daemon=True).start()


def give(c):
    try:
        c.sendall(BLOB)
    finally:
        c.close()


def take(c):
    total = hashlib.sha256()
    while data := c.recv(65536):
        total.update(data)
    c.sendall(total.hexdigest().encode())
    c.close()


def far_host():
    """Runs in the second network; ends with its standard input."""
    sys.stdin.readline()
    for words in ("link set lo up", "addr add 192.0.2.1/24 dev far", "addr add fd00:2::1/64 dev far nodad",
                  "addr add 198.51.100.1/32 dev lo", "addr add fd00:5::1/128 dev lo", "link set far up"):
        run("ip", *words.split())
    dns = subprocess.Popen(["dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null",
                            "--user=root", "--group=root", "--pid-file=",
                            "--address=/far.test/198.51.100.1",
                            "--address=/far.test/fd00:5::1"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for family in (socket.AF_INET, socket.AF_INET6):
        serve(family, GIVES, give)
        serve(family, TAKES, take)
    print("ready", flush=True)
    sys.stdin.read()
    dns.kill()


# ---- The near host: where lamina runs ----

def need_namespaces():
    """Runs the test again in namespaces of its own, unless it is there."""
    if os.environ.get(INSIDE):
        return
    for tool in ("ip", "dnsmasq", "unshare"):
        if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
            skip(f"{tool} is missing")
    if subprocess.run(["unshare", "-Urnm", "true"], stderr=subprocess.DEVNULL).returncode:
        skip("this host gives no user and network namespaces")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    done = subprocess.run(["unshare", "-Urnm", sys.executable, *sys.argv], env={**os.environ, INSIDE: "1"})
    sys.exit(done.returncode)


class Networks:
    def __enter__(self):
        need_namespaces()
        self.far = subprocess.Popen(["unshare", "-n", sys.executable, __file__, "--far"],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)  # until it is in its network; moving the link tries again
        run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far")
        for _ in range(50):
            done = subprocess.run(["ip", "link", "set", "far", "netns", str(self.far.pid)])
            if not done.returncode and not os.path.exists("/sys/class/net/far"):
                break
            time.sleep(0.1)
        for words in ("link set lo up", "addr add 192.0.2.2/24 dev near",
                      "addr add fd00:2::2/64 dev near nodad", "link set near up",
                      "route add default via 192.0.2.1", "-6 route add default via fd00:2::1"):
            run("ip", *words.split())
        with tempfile.NamedTemporaryFile("w", delete=False) as f:
            f.write("nameserver 198.51.100.1\n")
        os.chmod(f.name, 0o644)
        run("mount", "--bind", f.name, "/etc/resolv.conf")
        os.unlink(f.name)
        self.far.stdin.write("go\n")
        self.far.stdin.flush()
        want("the far host's word", self.far.stdout.readline(), "ready\n")
        return self

    def __exit__(self, *_):
        self.far.kill()


def guest(binary, script, *args, **options):
    """Runs bash in the guest; its output."""
    run_ = start(binary, *args, "--", "bash", "-euc", script, **options)
    status = run_.finish()
    if status:
        raise Failed(f"the script ended with {status}: {run_.console.decode()}{run_.errors.decode()}")
    return run_.console.decode()


CLIENT = f"""
get() {{ cat </dev/tcp/$1/{GIVES} | sha256sum | cut -c 1-64; }}
put() {{ perl -MSocket -e 'my ($e,@a)=Socket::getaddrinfo($ARGV[0],{TAKES},{{socktype=>SOCK_STREAM}});
  socket(S,$a[0]{{family}},SOCK_STREAM,0); connect(S,$a[0]{{addr}}) or die "connect: $!"; $/=undef;
  my $d=<STDIN>; my $o=0; while ($o<length $d) {{ my $n=syswrite(S,$d,65536,$o) or die; $o+=$n }}
  shutdown(S,1); print <S>, "\\n"' $1; }}
await4() {{ for i in $(seq 300); do ip -4 addr show dev eth0 | grep -q inet && return; sleep 0.1; done; exit 65; }}
await6() {{ for i in $(seq 100); do ip -6 route | grep -q ^default && return; sleep 0.1; done; exit 66; }}
"""


def check_network(binary, network):
    script = CLIENT + "await6; getent ahosts far.test | cut -d ' ' -f 1 | sort -u\n"
    script += "get 198.51.100.1 | tee /dev/stderr >/dev/null; get 198.51.100.1; get far.test >/dev/null\n"
    script += f"head -c 3000000 /dev/urandom >/tmp/up; sha256sum </tmp/up | cut -c 1-64; put 198.51.100.1 </tmp/up\n"
    lines = guest(binary, script, "--net", network).split()
    want("names", lines[:2], ["198.51.100.1", "fd00:5::1"])
    want("what came", lines[2], BLOB_SUM)
    want("what went", lines[4], lines[3])


def case_passt(binary):
    with Networks():
        check_network(binary, "user,backend=passt")


def case_slirp(binary):
    with Networks():
        check_network(binary, "user,backend=slirp")


def case_ipv6(binary):
    with Networks():
        lines = guest(binary, CLIENT + "await6; ip -6 route >&2; get fd00:5::1", "--net", "user,backend=passt").split()
        want("what came by IPv6", lines, [BLOB_SUM])


def ask(port, data, address="127.0.0.1"):
    with socket.create_connection((address, port), timeout=120) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: s.recv(4096), b""))


def check_published(binary, backend):
    with Networks():
        machine = start(binary, "--net", f"user,backend={backend}", "-p", "127.0.0.1:8080:80", "-p", "8081:80",
                        "--", "bash", "-c", SERVE % 2)
        machine.expect(b"serving")
        want("the answer", ask(8080, b"x" * 100000), b"got 100000")
        want("the answer", ask(8081, b"y", "192.0.2.2"), b"got 1")
        want("the status", machine.finish(), 0)


def case_publish_passt(binary):
    check_published(binary, "passt")


def case_port_taken(binary):
    with Networks(), socket.socket() as s:
        s.bind(("0.0.0.0", 8080))
        s.listen()
        machine = start(binary, "-p", "8080:80", "--", "true")
        want("the status", machine.finish(), 240)
        if b"port 8080 of the host" not in machine.errors:
            raise Failed(f"no word of the port: {machine.errors}")


def case_no_passt(binary):
    """Where passt finds no way out it is libslirp; killed, lamina leaves no process."""
    need_namespaces()
    run("ip", "link", "set", "lo", "up")
    machine = start(binary, "--net", "user", "--", "bash", "-c", "ip route; sleep 1000")
    machine.expect(b"default via 10.0.2.2")
    helpers = subprocess.run(["pgrep", "-P", str(machine.process.pid)], stdout=subprocess.PIPE, text=True).stdout.split()
    want("the number of helpers", len(helpers), 1)
    with open(f"/proc/{helpers[0]}/status", encoding="ascii") as f:
        want("seccomp", re.search(r"Seccomp:\s+(\d)", f.read())[1], "2")
    machine.process.send_signal(signal.SIGKILL)
    machine.process.wait()
    for _ in range(100):
        if not os.path.exists(f"/proc/{helpers[0]}"):
            return
        time.sleep(0.1)
    raise Failed("the helper is still there")


def case_tap(binary):
    need_namespaces()
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as e:
        skip(f"/dev/net/tun: {e.strerror}")
    for words in ("link set lo up", "tuntap add dev t0 mode tap", "addr add 198.51.100.1/24 dev t0", "link set t0 up"):
        run("ip", *words.split())
    dhcp = subprocess.Popen(["dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null",
                             "--user=root", "--group=root", "--pid-file=", "--port=0", "--interface=t0",
                             "--dhcp-leasefile=/dev/null", "--dhcp-range=198.51.100.50,198.51.100.60"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        serve(socket.AF_INET, GIVES, give)
        serve(socket.AF_INET, TAKES, take)
        # dnsmasq looks for some seconds whether anybody has the address, and the command does not wait.
        script = CLIENT + ("await4; get 198.51.100.1; head -c 3000000 /dev/urandom >/tmp/up; sha256sum </tmp/up | "
                           "cut -c 1-64; put 198.51.100.1 </tmp/up; cat /sys/class/net/eth0/address")
        lines = guest(binary, script, "--net", "tap=t0,mac=02:00:00:00:00:07").split()
        want("what came", lines[0], BLOB_SUM)
        want("what went", lines[2], lines[1])
        want("the MAC", lines[3], "02:00:00:00:00:07")
    finally:
        dhcp.kill()


def case_vsock(binary):
    guest_side = r"""use Socket; my $chunk = "0123456789abcdef" x 4096; $|=1;
socket(S,40,1,0); connect(S,pack("SSLLx4",40,0,1234,2)) or die "connect: $!";
for (1..64) { my $o=0; while ($o<65536) { $o += syswrite(S,$chunk,65536-$o,$o) } } shutdown(S,1); print <S>, "\n"; close S;
socket(R,40,1,0); print connect(R,pack("SSLLx4",40,0,9999,2)) ? "connected\n" : "refused\n";
socket(L,40,1,0); bind(L,pack("SSLLx4",40,0,555,0xffffffff)); listen(L,5); print "listening\n";
accept(C,L); my $n=0; while (sysread(C,$x,65536)) { $n+=length $x } syswrite(C,"got $n"); close C"""
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/v"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path + "_1234")
        listener.listen()
        machine = start(binary, "--vsock", f"cid=7,uds={path}", "--", "perl", "-e", guest_side)
        threading.Thread(target=lambda: take(listener.accept()[0]), daemon=True).start()
        machine.expect(b"listening")
        total = hashlib.sha256(b"0123456789abcdef" * 4096 * 64).hexdigest()
        want("the guest's lines", machine.console.split(), [total.encode(), b"refused", b"listening"])
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(120)
            s.connect(path)
            s.sendall(b"CONNECT 556\n")
            want("the answer of a closed port", s.recv(100), b"")
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(120)
            s.connect(path)
            s.sendall(b"CONNECT 555\n")
            want("the answer", s.recv(3), b"OK ")
            while s.recv(1) != b"\n":
                pass
            s.sendall(b"w" * 3000000)
            s.shutdown(socket.SHUT_WR)
            want("the guest's count", s.recv(100), b"got 3000000")
        want("the status", machine.finish(), 0)
        want("the socket's end", os.path.exists(path), False)


CASES = {name[5:]: case for name, case in list(globals().items()) if name.startswith("case_")}

if sys.argv[1:] == ["--far"]:
    far_host()
else:
    main(CASES, __doc__)
