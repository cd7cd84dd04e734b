// A stand-in for Firecracker, for tests: its API to the byte, real memory (fresh, from a file, or
// from a page server), memory files as it writes them, a guest that knows what each byte must be,
// and failures on demand.
//
// Prints "ready pid=… api=…" once it listens. Exit codes: 1 a failed load, a failure that was asked
// for, or a socket that is there already; 2 usage; 77 this machine cannot do it.
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "stand_ins/firecracker/api.h"
#include "stand_ins/firecracker/control.h"
#include "stand_ins/firecracker/http_server.h"
#include "stand_ins/firecracker/micro_vm.h"
#include "stand_ins/page_server_connection.h"
#include "stand_ins/sockets.h"

namespace lamina::tests {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

struct Arguments {
  std::string api_socket;
  std::string control_socket;
  std::string version = "1.15.0";
  std::vector<std::string> failures;
  std::string jail;
  uid_t user = 0;
  gid_t group = 0;
  bool start = false;
  VmOptions vm;
};

void define(CLI::App& app, Arguments& arguments) {
  app.add_option("--api-sock", arguments.api_socket, "Socket of the API")->required();
  app.add_option("--control", arguments.control_socket, "Socket for the test's commands");
  app.add_option("--id", arguments.vm.id, "Id of the VM")->capture_default_str();
  app.add_option("--version", arguments.version, "Version to give out")->capture_default_str();
  app.add_option("--memory-mib", arguments.vm.memory_mib, "Memory of a fresh VM")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--regions", arguments.vm.regions, "Regions of its memory")
      ->capture_default_str()
      ->check(CLI::Range(1, 2));
  app.add_option("--hotplug-mib", arguments.vm.hotplug_mib,
                 "Hotpluggable memory beside it, none of which is plugged")
      ->capture_default_str();
  app.add_option("--plugged-mib", arguments.vm.plugged_mib, "Part of it that is")
      ->capture_default_str();
  app.add_option("--huge-pages", arguments.vm.huge_pages, "Pages of a fresh VM")
      ->capture_default_str()
      ->check(CLI::IsMember({"None", "2M", "Transparent"}));
  app.add_option("--net", arguments.vm.networks, "Id of a network interface; repeatable");
  app.add_flag("--mmds", arguments.vm.has_mmds,
               "It takes metadata, which the test reads by GET /mmds");
  app.add_flag("--vsock", arguments.vm.has_vsock, "It has a vsock device");
  app.add_flag("!--no-queues", arguments.vm.has_queues,
               "No virtio device is active, so that idle diffs are empty");
  app.add_flag("--new-generation", arguments.vm.new_generation,
               "A load writes another generation id into memory, instead of the same again");
  app.add_option("--vcpus", arguments.vm.vcpus, "Processors to give out")->capture_default_str();
  app.add_option("--seed", arguments.vm.seed, "Of a fresh VM's random numbers")
      ->capture_default_str();
  app.add_option("--writers", arguments.vm.writers, "Threads that use memory while it runs")
      ->capture_default_str();
  app.add_flag("--balloon", arguments.vm.balloon, "Random operations give pages back too");
  app.add_flag("!--no-discards", arguments.vm.discards,
               "Nothing gives pages back, so the state stays as large as it is");
  app.add_flag("!--unchecked", arguments.vm.checked,
               "What a fresh VM reads is not checked, so its state is as small as a real one's");
  app.add_flag("!--no-track-dirty", arguments.vm.track_dirty_pages,
               "A fresh VM's dirty pages are the resident ones");
  app.add_flag("--reads-are-dirty,!--no-reads-are-dirty", arguments.vm.reads_are_dirty,
               "Pages that were only read after a resume by userfaultfd count as dirty (default)");
  app.add_option("--fail", arguments.failures, "POINT[:N]: fail at the N-th time; repeatable");
  app.add_option("--chroot", arguments.jail, "Directory that all paths are inside of");
  app.add_option("--uid", arguments.user, "User to become");
  app.add_option("--gid", arguments.group, "Group to become");
  app.add_flag("--start", arguments.start, "A fresh VM that runs; else one waits for a load");
}

[[noreturn]] void give_up(const char* what, const std::string& object) {
  std::fprintf(stderr, "%s '%s': %s\n", what, object.c_str(), std::strerror(errno));
  std::exit(kExitFailed);
}

/// As the jailer does it: a mount namespace of its own, whose root the jail becomes. Mounts that
/// are made later outside reach it only where they are shared.
void change_root(const std::string& jail) {
  constexpr const char* kOldRoot = "old_root";
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) != 0 ||
      ::mount(jail.c_str(), jail.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) {
    give_up("mount", jail);
  }
  if (::chdir(jail.c_str()) != 0 || ::mkdir(kOldRoot, 0700) != 0 ||
      ::syscall(SYS_pivot_root, ".", kOldRoot) != 0 || ::chdir("/") != 0 ||
      ::umount2(kOldRoot, MNT_DETACH) != 0 || ::rmdir(kOldRoot) != 0) {
    give_up("pivot_root", jail);
  }
}

/// As the jailer, which then executes Firecracker, so that the process is its own user's.
void enter_jail(const Arguments& arguments) {
  change_root(arguments.jail);
  if (::setgroups(0, nullptr) != 0 || ::setgid(arguments.group) != 0 ||
      ::setuid(arguments.user) != 0 || ::prctl(PR_SET_DUMPABLE, 1) != 0) {
    give_up("become user", std::to_string(arguments.user));
  }
}

os::Fd listen_or_give_up(const std::string& path) {
  os::Fd socket(listen_at(path));
  if (!socket.valid()) give_up("listen", path);
  return socket;
}

[[noreturn]] void serve(const Arguments& arguments) {
  // What the threads use is never destroyed: the process ends by _exit or a signal.
  auto& failures = *new Failures;
  auto& hold = *new Hold;
  auto& turned_away = *new std::atomic<unsigned>(0);
  auto& vm = *new MicroVm(arguments.vm, failures, hold);
  for (const std::string& point : arguments.failures) {
    if (const Status armed = failures.arm(point); !armed) {
      std::fprintf(stderr, "%s\n", armed.error().message.c_str());
      std::exit(kExitUsage);
    }
  }
  if (!arguments.jail.empty()) {
    // Another user may not make one; the jail of a real Firecracker has /dev/userfaultfd.
    if (!arguments.start) vm.keep_userfaultfd(os::Fd(open_userfaultfd()));
    enter_jail(arguments);
  }
  if (arguments.start) {
    if (const Status started = vm.start(); !started) {
      std::fprintf(stderr, "%s\n", started.error().message.c_str());
      std::exit(kExitFailed);
    }
  }
  if (!arguments.control_socket.empty()) {
    auto& control = *new Control(vm, failures, hold, turned_away);
    control.serve(listen_or_give_up(arguments.control_socket));
  }
  Api api(vm, arguments.version);
  HttpServer server(listen_or_give_up(arguments.api_socket), turned_away,
                    [&api](const HttpRequest& request) { return api.handle(request); });
  std::printf("ready pid=%d api=%s\n", ::getpid(), arguments.api_socket.c_str());
  std::fflush(stdout);
  server.serve();
}

}  // namespace
}  // namespace lamina::tests

int main(int argc, char** argv) {
  try {
    CLI::App app{"A stand-in for Firecracker."};
    lamina::tests::Arguments arguments;
    lamina::tests::define(app, arguments);
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return app.exit(error) == 0 ? 0 : lamina::tests::kExitUsage;
    }
    lamina::tests::serve(arguments);
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
    return lamina::tests::kExitFailed;
  }
}
