// The socket on which ranks listen, and the address by which other machines reach this one.
#pragma once
#include <cstdint>
#include <string>

// A socket that listens only on `host`. The store has no authentication, and by default it listens on every address of
// the machine; a group of processes on one machine needs only loopback. Throws c10::Error.
int ListenOn(const std::string& host, uint16_t port);

// The source address of this machine's packets to `host`, as the kernel routes them; no packet is sent. If `host` is a
// name of this machine that resolves to loopback, the source address towards other networks. Empty without a route.
std::string SourceAddressTowards(const std::string& host);
