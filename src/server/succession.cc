#include "server/succession.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "os/file.h"
#include "os/own_process.h"

namespace lamina::server {
namespace {

using Json = nlohmann::json;

using os::kEstateVariable;
constexpr std::uint64_t kMaxEstateBytes = std::uint64_t{64} << 20;

Json to_json(const Bequest& bequest, Purpose purpose) {
  Json list = Json::array();
  for (const auto& [id, vm] : bequest.vms) {
    list.push_back({{"directory", vm->directory.name()},
                    {"directory_fd", vm->directory.fd()},
                    {"userfaultfd", vm->userfaultfd.get()},
                    {"pidfd", vm->pidfd.get()},
                    {"connection", vm->connection.get()}});
  }
  Json store = nullptr;
  if (bequest.store != nullptr) {
    store = {{"path", bequest.store->path()}, {"fd", bequest.store->fd()}};
  }
  return {{"states", {{"path", bequest.states.path()}, {"fd", bequest.states.fd()}}},
          {"store", store},
          {"log", {{"name", bequest.log.name()}, {"fd", bequest.log.directory()}}},
          {"listening", bequest.listening},
          {"control", bequest.control},
          {"metrics", bequest.metrics},
          {"store_lock", bequest.store_lock},
          {"worker", bequest.worker},
          {"stopping", bequest.stopping},
          {"is_trial", purpose == Purpose::kTry},
          {"vms", list}};
}

void set_inherited(int fd, bool inherited) {
  if (fd >= 0) static_cast<void>(::fcntl(fd, F_SETFD, inherited ? 0 : FD_CLOEXEC));
}

/// Every descriptor that is passed on.
std::vector<int> all_descriptors(const Bequest& bequest) {
  std::vector<int> fds = bequest.listening;
  fds.insert(fds.end(), {bequest.states.fd(), bequest.log.directory(), bequest.control,
                         bequest.metrics, bequest.store_lock});
  if (bequest.store != nullptr) fds.push_back(bequest.store->fd());
  for (const auto& [id, vm] : bequest.vms) {
    for (const int fd :
         {vm->directory.fd(), vm->userfaultfd.get(), vm->pidfd.get(), vm->connection.get()}) {
      fds.push_back(fd);
    }
  }
  return fds;
}

os::Fd adopt(const Json& number) {
  const int fd = number.get<int>();
  set_inherited(fd, false);
  return os::Fd(fd);
}

Result<std::unique_ptr<Vm>> vm_from(const StateDirectory& states, const Json& json) {
  VmDirectory directory(json.at("directory").get<std::string>(), adopt(json.at("directory_fd")));
  os::Fd userfaultfd = adopt(json.at("userfaultfd"));
  os::Fd pidfd = adopt(json.at("pidfd"));
  os::Fd connection = adopt(json.at("connection"));
  const std::string path = states.path_of(directory);
  return attach_vm(path, std::move(directory), std::move(userfaultfd), std::move(pidfd),
                   std::move(connection));
}

/// Throws what the JSON library does when the list is not one of ours. A VM whose state cannot be
/// mapped is an error, unless it is gone: nobody but the giver can go on with it then.
Result<Estate> estate_from(const std::vector<std::byte>& bytes) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const Json json = Json::parse(text, text + bytes.size());
  const Json& states = json.at("states");
  const Json& log = json.at("log");
  Estate estate{StateDirectory(states.at("path").get<std::string>(), adopt(states.at("fd"))),
                std::nullopt,
                LogFile(log.at("name").get<std::string>(), adopt(log.at("fd"))),
                {},
                adopt(json.at("control")),
                adopt(json.at("metrics")),
                adopt(json.at("store_lock")),
                json.at("worker").get<pid_t>(),
                json.at("stopping").get<bool>(),
                json.at("is_trial").get<bool>(),
                {}};
  if (const Json& store = json.at("store"); !store.is_null()) {
    estate.store.emplace(store.at("path").get<std::string>(), adopt(store.at("fd")));
  }
  for (const Json& one : json.at("listening")) estate.listening.push_back(adopt(one));
  for (const Json& one : json.at("vms")) {
    auto vm = vm_from(estate.states, one);
    // It has just ended. (Whatever else would take its state away: it is looked for as abandoned.)
    if (!vm && vm.error().kind == ErrorKind::kNotFound) continue;
    if (!vm) return std::unexpected(vm.error());
    estate.vms.push_back(std::move(*vm));
  }
  return estate;
}

}  // namespace

Error exec_successor(const std::vector<std::string>& command, const Bequest& bequest,
                     Purpose purpose) {
  os::Fd list(::memfd_create("lamina-estate", 0));
  if (!list.valid()) return system_error("memfd_create", "estate", errno);
  const std::string text = to_json(bequest, purpose).dump();
  const Status written = os::write_at(list.get(), std::as_bytes(std::span(text)), 0, "estate");
  if (!written) return written.error();
  const std::string number = std::to_string(list.get());
  ::setenv(kEstateVariable, number.c_str(), 1);  // NOLINT(concurrency-mt-unsafe): about to exec
  for (const int fd : all_descriptors(bequest)) set_inherited(fd, true);
  std::vector<std::string> words = command;
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execv(command.front().c_str(), arguments.data());
  const Error failed = system_error("exec", command.front(), errno);
  for (const int fd : all_descriptors(bequest)) set_inherited(fd, false);
  ::unsetenv(kEstateVariable);  // NOLINT(concurrency-mt-unsafe): as above
  return failed;
}

Result<std::optional<Estate>> take_estate() {
  const char* number = ::getenv(kEstateVariable);  // NOLINT(concurrency-mt-unsafe): one thread yet
  if (number == nullptr) return std::nullopt;
  int fd = -1;
  const std::string_view digits = number;
  std::from_chars(digits.data(), digits.data() + digits.size(), fd);
  ::unsetenv(kEstateVariable);  // NOLINT(concurrency-mt-unsafe): one thread yet
  const os::Fd list(fd);
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          os::read_whole(list.get(), kMaxEstateBytes, "estate"));
  try {
    LAMINA_ASSIGN_OR_RETURN(Estate estate, estate_from(bytes));
    return std::optional(std::move(estate));
  } catch (const Json::exception& error) {
    return fail(ErrorKind::kFailed, "{} names no list of a predecessor: {}", kEstateVariable,
                error.what());
  }
}

}  // namespace lamina::server
