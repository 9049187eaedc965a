"""Records what processes try to reach outside of this machine: addresses and names of hosts."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_FILE = "TREADLE_TEST_OUTGOING"
_SHIM = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void note(const char *what, const char *where) {
  const char *file = getenv("TREADLE_TEST_OUTGOING");
  int kept = errno, to = file ? open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
  if (to >= 0) {
    char line[512];
    int size = snprintf(line, sizeof line, "%s %s %s (pid %d)\n", program_invocation_short_name,
                        what, where, getpid());
    if (write(to, line, size) < 0) abort();
    close(to);
  }
  errno = kept;
}

static void note_address(const char *what, const struct sockaddr *to) {
  char text[INET6_ADDRSTRLEN] = "";
  if (!to) return;
  if (to->sa_family == AF_INET) {
    const struct in_addr *at = &((const struct sockaddr_in *)to)->sin_addr;
    unsigned long number = ntohl(at->s_addr);
    if (number == 0 || number >> 24 == 127) return;
    inet_ntop(AF_INET, at, text, sizeof text);
  } else if (to->sa_family == AF_INET6) {
    const struct in6_addr *at = &((const struct sockaddr_in6 *)to)->sin6_addr;
    if (IN6_IS_ADDR_LOOPBACK(at) || IN6_IS_ADDR_UNSPECIFIED(at)) return;
    if (IN6_IS_ADDR_V4MAPPED(at) && at->s6_addr[12] == 127) return;
    inet_ntop(AF_INET6, at, text, sizeof text);
  } else {
    return;
  }
  note(what, text);
}

static int is_here(const char *name) {
  char own[256] = "";
  struct in_addr at;
  gethostname(own, sizeof own - 1);
  if (!strcmp(name, "localhost") || !strcmp(name, own) || !strcmp(name, "::1")) return 1;
  return inet_pton(AF_INET, name, &at) == 1 && (!at.s_addr || ntohl(at.s_addr) >> 24 == 127);
}

int connect(int file, const struct sockaddr *to, socklen_t size) {
  static int (*real)(int, const struct sockaddr *, socklen_t);
  if (!real) real = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
  note_address("connect", to);
  return real(file, to, size);
}

ssize_t sendto(int file, const void *from, size_t length, int flags, const struct sockaddr *to,
               socklen_t size) {
  static ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
  if (!real)
    real = (ssize_t (*)(int, const void *, size_t, int, const struct sockaddr *, socklen_t))dlsym(
        RTLD_NEXT, "sendto");
  note_address("sendto", to);
  return real(file, from, length, flags, to, size);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
  static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
  if (!real)
    real = (int (*)(const char *, const char *, const struct addrinfo *,
                    struct addrinfo **))dlsym(RTLD_NEXT, "getaddrinfo");
  if (name && !is_here(name)) note("getaddrinfo", name);
  return real(name, service, hints, found);
}
"""


class Outgoing:
    """What processes have tried that were started with its environment.

    Args:
        folder: Where its library and its record are kept.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None or sys.platform != "linux":
            pytest.skip("declared gap: connections are recorded on Linux, with a C compiler")
        folder.mkdir(parents=True, exist_ok=True)
        source, library = folder / "outgoing.c", folder / "outgoing.so"
        self._record = folder / "attempts.txt"
        source.write_text(_SHIM)
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True
        )
        self.environment = {"LD_PRELOAD": str(library), _FILE: str(self._record)}

    def attempts(self) -> list[str]:
        """Return what was tried: who, how, and whereto."""
        return self._record.read_text().splitlines() if self._record.exists() else []
