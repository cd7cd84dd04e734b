#include "bench.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "ballast.h"
#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"

namespace lamina::bench {
namespace {

std::atomic<bool> stop_requested = false;

/// Writes out what earlier parts left dirty, so that no sync of a timed part pays for it.
Status settle(const std::string& directory) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd fd, os::open_directory(AT_FDCWD, directory, directory));
  if (::syncfs(fd.get()) != 0) return system_failure("syncfs", directory, errno);
  return {};
}

Status call(const std::function<Status()>& part) { return part ? part() : Status{}; }

}  // namespace

void request_stop() { stop_requested = true; }

Status remove_all(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return fail(ErrorKind::kFailed, "remove '{}': {}", path, error.message());
  return {};
}

Result<Bench> Bench::create(const Options& options) {
  std::error_code error;
  const std::filesystem::path base = std::filesystem::absolute(options.directory, error);
  const std::string directory = (base / fmt::format("lamina-bench-{}", ::getpid())).string();
  if (!std::filesystem::create_directory(directory, error)) {
    return fail(ErrorKind::kFailed, "make '{}': {}", directory, error.message());
  }
  return Bench(options, directory);
}

Bench::Bench(Bench&& other) noexcept
    : options_(std::move(other.options_)),
      directory_(std::exchange(other.directory_, {})),
      measurements_(std::move(other.measurements_)),
      memory_(std::move(other.memory_)),
      curves_(std::move(other.curves_)),
      skipped_(std::move(other.skipped_)) {}

Bench::~Bench() {
  if (directory_.empty()) return;
  if (const Status removed = remove_all(directory_); !removed) {
    fmt::print(stderr, "lamina_bench: {}\n", removed.error().message);
  }
}

unsigned Bench::rounds() const {
  if (options_.repeat != 0) return options_.repeat;
  return options_.quick || options_.curves ? 3 : 5;
}

bool Bench::wants(const std::string& name) const {
  return name.find(options_.filter) != std::string::npos;
}

void Bench::skip(const std::string& name, const std::string& why) {
  fmt::print(stderr, "skipped {}: {}\n", name, why);
  skipped_.push_back({name, why});
}

Status Bench::run_contender(const Comparison& comparison, const Contender& contender, bool first,
                            std::vector<double>& milliseconds) {
  if (stop_requested) return fail(ErrorKind::kInterrupted, "interrupted");
  LAMINA_RETURN_IF_ERROR(call(contender.prepare));
  if (comparison.ballast_bytes != 0) {
    LAMINA_RETURN_IF_ERROR(settle(directory_));
    if (!options_.no_ballast) touch_ballast(comparison.ballast_bytes);
  }
  const auto start = std::chrono::steady_clock::now();
  const Status ran = contender.run();
  const auto end = std::chrono::steady_clock::now();
  LAMINA_RETURN_IF_ERROR(ran);
  milliseconds.push_back(std::chrono::duration<double, std::milli>(end - start).count());
  if (first) LAMINA_RETURN_IF_ERROR(call(contender.check));
  return call(contender.clear);
}

Status Bench::run(const Comparison& comparison) {
  LAMINA_ASSIGN_OR_RETURN(Measurement measurement, measure(comparison));
  add(std::move(measurement));
  return {};
}

Result<Measurement> Bench::measure(const Comparison& comparison) {
  fmt::print(stderr, "{} …\n", comparison.name);
  Measurement measurement;
  measurement.name = comparison.name;
  measurement.what = comparison.what;
  measurement.floor_is = comparison.floor_is;
  measurement.budget = comparison.budget;
  measurement.bytes = comparison.bytes;
  const std::size_t count = comparison.contenders.size();
  for (const Contender& contender : comparison.contenders) {
    measurement.samples.push_back({contender.name, {}});
  }
  for (unsigned round = 0; round < rounds(); ++round) {
    for (std::size_t turn = 0; turn < count; ++turn) {
      const std::size_t index = (round + turn) % count;
      const Contender& contender = comparison.contenders[index];
      const Status ran =
          run_contender(comparison, contender, round == 0, measurement.samples[index].milliseconds);
      if (!ran) {
        return std::unexpected(
            with_context(fmt::format("{} ({})", comparison.name, contender.name), ran.error()));
      }
    }
  }
  return measurement;
}

}  // namespace lamina::bench
