// Where ranks listen, and which of a machine's addresses others reach it by.
#pragma once
#include <cstdint>
#include <string>

// A socket that listens on `host` alone. The store has no authentication, and left to itself it listens on every
// address of the machine; a group of one machine's processes needs loopback only. Throws c10::Error.
int ListenOn(const std::string& host, uint16_t port);

// The address that this machine's packets to `host` come from, as the kernel routes them: no packet is sent. Where the
// host is this machine, known by a name that stands for loopback, it is the address of the way to other networks.
// Empty where there is no such way.
std::string OwnAddressTowards(const std::string& host);
