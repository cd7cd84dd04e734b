// Reports about the daemon itself.
#pragma once

#include <cstdint>
#include <string>

#include "schema/field.h"

namespace lamina::daemon {

struct HealthAnswer {
  std::string status = "ok";
  std::string store;
  bool recovered = false;
  bool page_server = false;
  std::uint64_t connections = 0;
  std::uint64_t requests = 0;
  std::uint64_t queued_merges = 0;
  std::uint64_t queued_pushes = 0;
};

struct VersionAnswer {
  std::string version;
  std::string api = "v1";
};

template <typename Visitor, schema::Is<HealthAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  v.type("health");
  v.text({.name = "status", .help = "\"ok\""}, a.status);
  v.text({.name = "store"}, a.store);
  v.flag({.name = "recovered", .help = "The recovery at the start has ended"}, a.recovered);
  v.flag({.name = "page_server", .help = "The page server served when it was last asked"},
         a.page_server);
  v.number({.name = "connections"}, a.connections);
  v.number({.name = "requests", .help = "Requests without a response yet"}, a.requests);
  v.number({.name = "queued_merges"}, a.queued_merges);
  v.number({.name = "queued_pushes"}, a.queued_pushes);
}

template <typename Visitor, schema::Is<VersionAnswer> Answer>
void describe(Visitor& v, Answer& a) {
  v.type("version");
  v.text({.name = "version"}, a.version);
  v.text({.name = "api", .help = "\"v1\""}, a.api);
}

}  // namespace lamina::daemon
