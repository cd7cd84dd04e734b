// What power failures, failing calls and bit rot do to a store: torture crash | syncs | faults |
// rot.
//
// Prints a table: one line for each operation. Exit codes: 0 nothing found, 1 violations, 2 usage,
// 77 no FUSE file system can be mounted here.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "os/fd.h"
#include "rot.h"
#include "scratch_directory.h"
#include "trial.h"

namespace lamina::torture {
namespace {

constexpr int kExitViolations = 1;
constexpr int kExitSkipped = 77;
using Clock = std::chrono::steady_clock;

struct Kind {
  const char* name;
  const char* help;
  TrialReport (*run)(std::string_view subject, const TrialOptions& options);
  std::vector<std::string_view> subjects;
  std::vector<const char*> figures;
  std::size_t counted;      ///< the figure that says how much was tried
  bool in_a_mount = true;   ///< of the file system that records
  bool for_people = false;  ///< what it finds is no violation
};

template <TrialReport (*Try)(const Scene&, const TrialOptions&)>
TrialReport in_scene(std::string_view subject, const TrialOptions& options) {
  return Try(*find_scene(subject), options);
}

std::vector<std::string_view> scenes(bool with_vm) {
  std::vector<std::string_view> names;
  for (const Scene& scene : all_scenes()) {
    if (with_vm || !scene.has_vm) names.push_back(scene.name);
  }
  return names;
}

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{
      {"crash",
       "every state that a power failure may leave",
       in_scene<try_crashes>,
       scenes(true),
       {"recorded", "syncs", "states"},
       2},
      {"kills",
       "a kill before each sync, a recovery, and then a power failure",
       in_scene<try_kills>,
       scenes(true),
       {"recorded", "syncs", "states"},
       2},
      {"syncs",
       "which syncs are needed: each in turn is taken for never done",
       in_scene<try_without_syncs>,
       scenes(true),
       {"recorded", "syncs", "states"},
       2,
       true,
       true},
      // A VM goes on, so its pause can be tried once; the tests of the lifecycle let its calls
      // fail.
      {"faults",
       "every call fails in turn",
       in_scene<try_faults>,
       scenes(false),
       {"calls", "runs", "errors", "goes on"},
       1},
      {"rot",
       "changed bytes, cut files, blocks and files in others' places",
       try_rot,
       rot_subjects(),
       {"bytes", "states", "refused", "stopped", "harmless"},
       1,
       false}};
  return all;
}

struct Arguments {
  double minutes = 0;
  std::uint64_t seed = 1;
  std::vector<std::string> operations;
  std::string fake_firecracker;
  unsigned jobs = std::max(1U, std::thread::hardware_concurrency());
};

/// A temporary directory with the place to mount at and one for all else.
class Directory {
 public:
  Directory() {
    std::filesystem::create_directory(mount());
    std::filesystem::create_directory(outside());
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  Directory(Directory&&) = delete;
  Directory& operator=(Directory&&) = delete;
  ~Directory() { ::umount2(mount().c_str(), MNT_DETACH); }

  [[nodiscard]] std::string mount() const { return scratch_.file("mount"); }
  [[nodiscard]] std::string outside() const { return scratch_.file("outside"); }

 private:
  tests::ScratchDirectory scratch_{::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"};
};

std::string encoded(const TrialReport& report) {
  return nlohmann::json{{"figures", report.figures},
                        {"violations", report.violations},
                        {"complete", report.is_complete},
                        {"seconds", report.seconds},
                        {"lines", report.lines}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

TrialReport decoded(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  TrialReport report;
  if (!json.is_object()) {
    report.violations = 1;
    report.lines = {"the trial ended without a report"};
    return report;
  }
  report.figures = json["figures"].get<std::vector<std::uint64_t>>();
  report.violations = json["violations"];
  report.is_complete = json["complete"];
  report.seconds = json["seconds"];
  report.lines = json["lines"].get<std::vector<std::string>>();
  return report;
}

/// A trial in a process of its own.
struct Running {
  std::string_view subject;
  pid_t pid = -1;
  os::Fd output;
  std::unique_ptr<Directory> directory;
};

Running start(const Kind& kind, std::string_view subject, const Arguments& arguments,
              Clock::time_point deadline) {
  Running running;
  running.subject = subject;
  running.directory = std::make_unique<Directory>();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  running.output = os::Fd(ends[0]);
  const os::Fd input(ends[1]);
  running.pid = ::fork();
  if (running.pid != 0) return running;
  // With mounts of its own, if we may, that go with the process however it ends.
  if (::unshare(CLONE_NEWNS) == 0) ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  TrialReport report;
  try {
    TrialOptions options;
    options.mount = running.directory->mount();
    options.outside = running.directory->outside();
    options.fake_firecracker = arguments.fake_firecracker;
    options.seed = arguments.seed;
    options.deadline = deadline;
    report = kind.run(subject, options);
  } catch (const std::exception& error) {
    report.violations = 1;
    report.lines = {error.what()};
  }
  const std::string text = encoded(report);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t count = ::write(input.get(), text.data() + done, text.size() - done);
    if (count <= 0) break;
    done += static_cast<std::size_t>(count);
  }
  ::_exit(0);
}

TrialReport finish(Running& running) {
  std::string text;
  std::array<char, 4096> piece{};
  while (true) {
    const ssize_t count = ::read(running.output.get(), piece.data(), piece.size());
    if (count <= 0) break;
    text.append(piece.data(), static_cast<std::size_t>(count));
  }
  ::waitpid(running.pid, nullptr, 0);
  running.directory.reset();
  return decoded(text);
}

bool can_mount() {
  const Directory directory;
  try {
    const Mount mount(directory.mount());
    return true;
  } catch (const std::exception& error) {
    std::cout << "skipped: " << error.what() << "\n";
    return false;
  }
}

class Table {
 public:
  explicit Table(const Kind& kind) : kind_(kind), sums_(kind.figures.size(), 0) {
    std::printf("%-18s", "operation");
    for (const char* name : kind.figures) std::printf(" %9s", name);
    std::printf(" %11s %8s\n", "violations", "seconds");
  }

  void add(std::string_view subject, const TrialReport& report) {
    std::vector<std::uint64_t> figures = report.figures;
    figures.resize(sums_.size(), 0);
    for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i] += figures[i];
    violations_ += report.violations;
    seconds_ += report.seconds;
    is_complete_ = is_complete_ && report.is_complete;
    print(std::string(subject) + (report.is_complete ? "" : " *"), figures, report.violations,
          report.seconds);
    for (const std::string& line : report.lines) std::printf("%s\n", line.c_str());
    std::fflush(stdout);
  }

  std::uint64_t end() {
    print("all", sums_, violations_, seconds_);
    if (!is_complete_) std::printf("* a sample: the time was up\n");
    std::printf("total: %llu %s, %llu violations\n",
                static_cast<unsigned long long>(sums_[kind_.counted]), kind_.figures[kind_.counted],
                static_cast<unsigned long long>(violations_));
    return violations_;
  }

 private:
  static void print(const std::string& name, const std::vector<std::uint64_t>& figures,
                    std::uint64_t violations, double seconds) {
    std::printf("%-18s", name.c_str());
    for (const std::uint64_t figure : figures) {
      std::printf(" %9llu", static_cast<unsigned long long>(figure));
    }
    std::printf(" %11llu %8.1f\n", static_cast<unsigned long long>(violations), seconds);
  }

  const Kind& kind_;
  std::vector<std::uint64_t> sums_;
  std::uint64_t violations_ = 0;
  double seconds_ = 0;
  bool is_complete_ = true;
};

/// Where the build puts it.
std::string default_firecracker() {
  std::error_code failed;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
  return (self.parent_path().parent_path() / "stand_ins/fake_firecracker_vmm").string();
}

int run(const Kind& kind, const Arguments& arguments) {
  if (kind.in_a_mount && !can_mount()) return kExitSkipped;
  std::vector<std::string_view> subjects;
  for (const std::string_view subject : kind.subjects) {
    const auto& wanted = arguments.operations;
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), subject) != wanted.end()) {
      subjects.push_back(subject);
    }
  }
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(arguments.minutes * 60));
  std::vector<Running> running;
  std::size_t next = 0;
  Table table(kind);
  while (next < subjects.size() || !running.empty()) {
    if (next < subjects.size() && running.size() < arguments.jobs) {
      auto deadline = Clock::time_point::max();
      if (arguments.minutes > 0) {
        // What is left, in equal parts for those that are left.
        const auto now = Clock::now();
        const auto rounds = (subjects.size() - next + arguments.jobs - 1) / arguments.jobs;
        deadline = now + (end - now) / static_cast<int>(rounds);
      }
      running.push_back(start(kind, subjects[next++], arguments, deadline));
      continue;
    }
    Running first = std::move(running.front());
    running.erase(running.begin());
    table.add(first.subject, finish(first));
  }
  return table.end() == 0 || kind.for_people ? 0 : kExitViolations;
}

int run(int argc, char** argv) {
  CLI::App app{"What power failures, failing calls and bit rot do to a store."};
  app.require_subcommand(1);
  Arguments arguments;
  arguments.fake_firecracker = default_firecracker();
  for (const Kind& kind : kinds()) {
    CLI::App* verb = app.add_subcommand(kind.name, kind.help);
    verb->add_option("--minutes", arguments.minutes, "Stop after so many; else all is tried");
    verb->add_option("--seed", arguments.seed, "Of what is random")->capture_default_str();
    verb->add_option("--operation", arguments.operations, "Only this one; repeatable")
        ->check([&kind](const std::string& name) {
          std::string known = "known are:";
          for (const std::string_view subject : kind.subjects) {
            if (subject == name) return std::string();
            known += " " + std::string(subject);
          }
          return known;
        });
    verb->add_option("--jobs", arguments.jobs, "So many at once")->check(CLI::PositiveNumber);
    verb->add_option("--fake-firecracker", arguments.fake_firecracker, "The program to pause")
        ->check(CLI::ExistingFile);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  for (const Kind& kind : kinds()) {
    if (app.got_subcommand(kind.name)) return run(kind, arguments);
  }
  return 2;
}

}  // namespace
}  // namespace lamina::torture

int main(int argc, char** argv) {
  try {
    return lamina::torture::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return lamina::torture::kExitViolations;
  }
}
