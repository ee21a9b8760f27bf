// The socket on which ranks listen, and the address by which other machines reach this one.
#pragma once
#include <arpa/inet.h>
#include <c10/util/Exception.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

// A socket that listens only on `host`. The store has no authentication, and by default it listens on every address of
// the machine; a group of processes on one machine needs only loopback. Throws c10::Error.
inline int ListenOn(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  TORCH_CHECK(failed == 0, "the host ", host, " is not known: ", gai_strerror(failed));
  int error = 0;
  int listening = -1;
  for (const addrinfo* address = found; address != nullptr && listening < 0; address = address->ai_next) {
    const int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int yes = 1;
    if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd >= 0 && bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, 2048) == 0) {
      listening = fd;
    } else {
      error = errno;
      if (fd >= 0) close(fd);
    }
  }
  freeaddrinfo(found);
  TORCH_CHECK(listening >= 0, error == EADDRINUSE ? "EADDRINUSE: " : "", "cannot listen on ", host, ":", port, ": ",
              std::strerror(error));
  return listening;
}

inline bool IsLoopback(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET)
    return ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr) >> 24 == 127;
  const in6_addr& six = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
}

// The numeric source address towards `host`; empty without a route, or if it is loopback.
inline std::string SourceTowards(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;  // connecting such a socket looks up the route and sends nothing
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), "9", &hints, &found) != 0) return {};
  std::string source_address;
  for (const addrinfo* address = found; address != nullptr && source_address.empty(); address = address->ai_next) {
    const int fd = socket(address->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_storage source{};
    socklen_t length = sizeof source;
    char text[NI_MAXHOST];
    auto* end = reinterpret_cast<sockaddr*>(&source);
    if (fd >= 0 && connect(fd, address->ai_addr, address->ai_addrlen) == 0 && getsockname(fd, end, &length) == 0 &&
        !IsLoopback(source) && getnameinfo(end, length, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0)
      source_address = text;
    if (fd >= 0) close(fd);
  }
  freeaddrinfo(found);
  return source_address;
}

// The source address of this machine's packets to `host`, as the kernel routes them; no packet is sent. If `host` is a
// name of this machine that resolves to loopback, the source address towards other networks. Empty without a route.
inline std::string SourceAddressTowards(const std::string& host) {
  const std::string found = SourceTowards(host);
  return found.empty() ? SourceTowards("192.0.2.1") : found;  // reserved for documentation (RFC 5737)
}
