#include "server/handover.h"

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

constexpr std::uint64_t kMaxStateBytes = std::uint64_t{64} << 20;

/// Beside the sockets' descriptors, which earlier programs list as well.
Json name_to_json(const Listener* listener) {
  if (listener == nullptr || !listener->name().directory.valid()) return nullptr;
  const SocketName& name = listener->name();
  return {{"directory", name.directory.get()},
          {"name", name.name},
          {"device", name.device},
          {"inode", name.inode}};
}

int fd_of(const Listener* listener) { return listener == nullptr ? -1 : listener->fd(); }

Json vm_to_json(const Vm& vm) {
  return {{"id", vm.id},
          {"directory", vm.directory.name()},
          {"directory_fd", vm.directory.fd()},
          {"userfaultfd", vm.userfaultfd.get()},
          {"pidfd", vm.pidfd.get()},
          {"connection", vm.connection.get()}};
}

Json to_json(const HandoverState& handover, Purpose purpose) {
  Json vms = Json::array();
  for (const Vm* vm : handover.vms) vms.push_back(vm_to_json(*vm));
  Json listening = Json::array();
  Json names = Json::array();
  for (const Listener* one : handover.listening) {
    listening.push_back(one->fd());
    names.push_back(name_to_json(one));
  }
  Json store = nullptr;
  if (handover.store != nullptr)
    store = {{"path", handover.store->path()}, {"fd", handover.store->fd()}};
  return {{"states", {{"path", handover.states.path()}, {"fd", handover.states.fd()}}},
          {"store", store},
          {"log", {{"name", handover.log.name()}, {"fd", handover.log.directory()}}},
          {"listening", listening},
          {"listening_names", names},
          {"control", fd_of(handover.control)},
          {"control_name", name_to_json(handover.control)},
          {"metrics", fd_of(handover.metrics)},
          {"metrics_name", name_to_json(handover.metrics)},
          {"store_lock", handover.store_lock},
          {"worker", handover.worker},
          {"worker_control", handover.worker_control},
          {"stopping", handover.stopping},
          {"is_trial", purpose == Purpose::kTry},
          {"vms", vms}};
}

void set_inherited(int fd, bool inherited) {
  if (fd >= 0) static_cast<void>(::fcntl(fd, F_SETFD, inherited ? 0 : FD_CLOEXEC));
}

/// Every descriptor that is passed on.
std::vector<int> all_descriptors(const HandoverState& handover) {
  std::vector<int> fds = {handover.states.fd(), handover.log.directory(), handover.store_lock,
                          handover.worker_control};
  std::vector<const Listener*> listeners = handover.listening;
  listeners.insert(listeners.end(), {handover.control, handover.metrics});
  for (const Listener* one : listeners) {
    if (one != nullptr) fds.insert(fds.end(), {one->fd(), one->name().directory.get()});
  }
  if (handover.store != nullptr) fds.push_back(handover.store->fd());
  for (const Vm* vm : handover.vms) {
    fds.insert(fds.end(),
               {vm->directory.fd(), vm->userfaultfd.get(), vm->pidfd.get(), vm->connection.get()});
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
  LAMINA_ASSIGN_OR_RETURN(std::unique_ptr<Vm> vm,
                          attach_vm(path, std::move(directory), std::move(userfaultfd),
                                    std::move(pidfd), std::move(connection)));
  vm->id = json.value("id", std::uint64_t{0});
  return vm;
}

Listener listener_from(const Json& fd, const Json& name) {
  os::Fd socket = adopt(fd);
  if (name.is_null()) return {std::move(socket), {}};
  return {std::move(socket),
          {adopt(name.at("directory")), name.at("name").get<std::string>(),
           name.at("device").get<std::uint64_t>(), name.at("inode").get<std::uint64_t>()}};
}

std::vector<Listener> listening_from(const Json& json) {
  const Json& fds = json.at("listening");
  const Json names = json.value("listening_names", Json::array());
  std::vector<Listener> listening;
  listening.reserve(fds.size());
  for (std::size_t i = 0; i < fds.size(); ++i) {
    listening.push_back(listener_from(fds[i], i < names.size() ? names[i] : Json()));
  }
  return listening;
}

/// Throws what the JSON library does when the list is not one of ours. A VM whose state cannot be
/// mapped is an error, unless it is gone: only the giver can go on with it then.
Result<InheritedState> state_from(const std::vector<std::byte>& bytes) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const Json json = Json::parse(text, text + bytes.size());
  const Json& states = json.at("states");
  const Json& log = json.at("log");
  InheritedState state{StateDirectory(states.at("path").get<std::string>(), adopt(states.at("fd"))),
                       std::nullopt,
                       LogFile(log.at("name").get<std::string>(), adopt(log.at("fd"))),
                       listening_from(json),
                       listener_from(json.at("control"), json.value("control_name", Json())),
                       listener_from(json.at("metrics"), json.value("metrics_name", Json())),
                       adopt(json.at("store_lock")),
                       json.at("worker").get<pid_t>(),
                       adopt(json.value("worker_control", Json(-1))),
                       json.at("stopping").get<bool>(),
                       json.at("is_trial").get<bool>(),
                       {}};
  if (const Json& store = json.at("store"); !store.is_null()) {
    state.store.emplace(store.at("path").get<std::string>(), adopt(store.at("fd")));
  }
  for (const Json& one : json.at("vms")) {
    auto vm = vm_from(state.states, one);
    // It has just ended. (If something else took its state away, it is found as abandoned.)
    if (!vm && vm.error().kind == ErrorKind::kNotFound) continue;
    if (!vm) return std::unexpected(vm.error());
    state.vms.push_back(std::move(*vm));
  }
  return state;
}

}  // namespace

Error exec_successor(const std::vector<std::string>& command, const HandoverState& handover,
                     Purpose purpose) {
  os::Fd list(::memfd_create("lamina-handover", 0));
  if (!list.valid()) return system_error("memfd_create", "handover", errno);
  const std::string text = to_json(handover, purpose).dump();
  const Status written = os::write_at(list.get(), std::as_bytes(std::span(text)), 0, "handover");
  if (!written) return written.error();
  const std::string number = std::to_string(list.get());
  ::setenv(os::kHandoverVariable, number.c_str(),
           1);  // NOLINT(concurrency-mt-unsafe): about to exec
  for (const int fd : all_descriptors(handover)) set_inherited(fd, true);
  std::vector<std::string> words = command;
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execv(command.front().c_str(), arguments.data());
  const Error failed = system_error("exec", command.front(), errno);
  for (const int fd : all_descriptors(handover)) set_inherited(fd, false);
  ::unsetenv(os::kHandoverVariable);  // NOLINT(concurrency-mt-unsafe): as above
  return failed;
}

Result<std::optional<InheritedState>> take_inherited_state() {
  const char* number =
      ::getenv(os::kHandoverVariable);  // NOLINT(concurrency-mt-unsafe): one thread yet
  if (number == nullptr) return std::nullopt;
  int fd = -1;
  const std::string_view digits = number;
  std::from_chars(digits.data(), digits.data() + digits.size(), fd);
  ::unsetenv(os::kHandoverVariable);  // NOLINT(concurrency-mt-unsafe): one thread yet
  const os::Fd list(fd);
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          os::read_whole(list.get(), kMaxStateBytes, "handover"));
  try {
    LAMINA_ASSIGN_OR_RETURN(InheritedState state, state_from(bytes));
    return std::optional(std::move(state));
  } catch (const Json::exception& error) {
    return fail(ErrorKind::kFailed, "{} does not name the list of a predecessor: {}",
                os::kHandoverVariable, error.what());
  }
}

}  // namespace lamina::server
