#include "fault_servers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/block.h"
#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/userfaultfd.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kPortionBlocks = 512;
constexpr std::size_t kEventsAtOnce = 16;

/// Calls `serve` with the block of every fault that waits.
template <typename Serve>
Status for_each_fault(int userfaultfd, std::uint64_t address, Serve serve) {
  std::array<uffd_msg, kEventsAtOnce> events{};
  LAMINA_ASSIGN_OR_RETURN(const std::size_t count, os::uffd_read(userfaultfd, events));
  for (std::size_t i = 0; i < count; ++i) {
    if (events[i].event != UFFD_EVENT_PAGEFAULT) continue;
    LAMINA_RETURN_IF_ERROR(serve(
        static_cast<std::uint32_t>((events[i].arg.pagefault.address - address) / kBlockBytes)));
  }
  return {};
}

}  // namespace

Status serve_until_done(ConnectedGuest& guest, FaultServer& server) {
  std::array<pollfd, 2> waiting = {pollfd{guest.userfaultfd.get(), POLLIN, 0},
                                   pollfd{guest.guest->done_fd(), POLLIN, 0}};
  while (true) {
    const int ready = ::poll(waiting.data(), waiting.size(), server.has_more() ? 0 : -1);
    if (ready < 0) {
      if (errno == EINTR) continue;
      return system_failure("poll", "guest", errno);
    }
    if (ready == 0) LAMINA_RETURN_IF_ERROR(server.do_more());
    if (waiting[0].revents != 0) LAMINA_RETURN_IF_ERROR(server.handle_events());
    if (waiting[1].revents != 0) return guest.guest->take_done();
  }
}

Result<std::unique_ptr<SessionServer>> SessionServer::create(
    const ConnectedGuest& guest, const engine::Chain& chain, const pager::FaultLimits& limits,
    std::shared_ptr<pager::PlanReader> reader) {
  const std::string place = "/dev/shm";
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, os::open_directory(AT_FDCWD, place, place));
  pager::VmRecord record;
  record.pid = guest.pid;
  record.memory_bytes = chain.mapping().block_count() * kBlockBytes;
  record.regions = {guest.region};
  const std::string name = fmt::format("lamina-bench-{}-{}", ::getpid(), guest.pid);
  auto state = pager::VmState::create(directory.get(), name, record, place + "/" + name);
  ::unlinkat(directory.get(), name.c_str(), 0);
  if (!state) return std::unexpected(state.error());
  std::unique_ptr<SessionServer> server(new SessionServer(std::move(*state)));
  pager::SessionOptions options;
  options.limits = limits;
  server->reader_ = std::move(reader);
  LAMINA_ASSIGN_OR_RETURN(
      server->session_,
      pager::Session::create(chain, server->state_, {guest.userfaultfd.get(), guest.pidfd.get()},
                             server->buffer_, options));
  return server;
}

Status SessionServer::check() const {
  if (session_->state() == pager::SessionState::kServing) return {};
  return fail(ErrorKind::kFailed, "the session ended: {}", session_->failure());
}

Status SessionServer::handle_events() {
  session_->handle_events();
  return check();
}

Status SessionServer::do_more() {
  session_->fill_deferred();
  return check();
}

Status SessionServer::populate(std::span<const BlockRun> runs) {
  plan_.first.assign(runs.begin(), runs.end());
  session_->set_plan(&plan_, reader_.get());
  while (true) {
    const auto populated = session_->populate(kPortionBlocks);
    if (populated == pager::Session::Populated::kDone) return check();
    if (populated == pager::Session::Populated::kMore) continue;
    pollfd waiting{reader_->fd(), POLLIN, 0};
    if (::poll(&waiting, 1, -1) > 0) reader_->clear();
  }
}

FloorServer::FloorServer(const ConnectedGuest& guest, const FaultInput& input,
                         const pager::FaultLimits& limits, FloorSource source, FloorOrder order)
    : userfaultfd_(guest.userfaultfd.get()),
      address_(guest.region.host_address),
      input_(input),
      limits_(limits),
      source_(source),
      order_(order),
      data_bits_(pager::FaultAround::words_for(input.block_count())),
      zeros_bits_(pager::FaultAround::words_for(input.block_count())),
      data_around_(input.block_count(), {limits.data_blocks, pager::kFaultsOfDataWindow},
                   data_bits_),
      zeros_around_(input.block_count(), {limits.zero_blocks, pager::kFaultsOfZeroWindow},
                    zeros_bits_),
      buffer_(pager::kFillBufferBytes) {}

std::uint32_t FloorServer::fill(std::uint32_t block, const pager::FaultLimits& limits) {
  const bool zero = input_.is_zero(block);
  const std::uint32_t count =
      std::min(input_.run_end(block) - block, zero ? limits.zero_blocks : limits.data_blocks);
  const std::uint64_t offset = block * kBlockBytes;
  const std::uint64_t length = count * kBlockBytes;
  os::FillResult result;
  if (zero) {
    result = os::uffd_zero(userfaultfd_, address_ + offset, length);
  } else if (source_ == FloorSource::kMapping) {
    result =
        os::uffd_copy(userfaultfd_, address_ + offset, input_.memory().subspan(offset, length));
  } else {
    const auto data = std::span(buffer_).first(length);
    failed_ |= ::pread(input_.file_fd(), data.data(), length, static_cast<off_t>(offset)) !=
               static_cast<ssize_t>(length);
    result = os::uffd_copy(userfaultfd_, address_ + offset, data);
  }
  failed_ |=
      result.outcome != os::FillOutcome::kDone && result.outcome != os::FillOutcome::kPresent;
  return count;
}

bool FloorServer::fill_around(std::uint32_t block, std::uint32_t limit) {
  pager::FaultAround& windows = windows_of(block);
  const BlockRun window = windows.window_of(block);
  const std::uint32_t window_end = window.end();
  std::uint32_t first = block;
  while (first > window.first && input_.is_zero(first - 1) == input_.is_zero(block)) --first;
  const BlockRun piece{first, std::min(window_end, input_.run_end(block)) - first};
  const BlockRun part = windows.next_part(piece, block, limit);
  const std::uint32_t end = part.end();
  for (std::uint32_t at = part.first; at < end; ++at) {
    const std::uint32_t missing = windows.missing_from(at, end);
    if (missing == 0) continue;
    fill(at, {missing, missing});
    windows.mark_filled({at, missing});
  }
  return windows.next_part(piece, block, limit).count > 0;
}

Status FloorServer::handle_events() {
  std::size_t faults = 0;
  LAMINA_RETURN_IF_ERROR(for_each_fault(userfaultfd_, address_, [&](std::uint32_t block) -> Status {
    ++faults;
    if (order_ == FloorOrder::kWholeWindow) {
      fill_around(block, kPortionBlocks);
    } else {
      fill(block, {1, 1});
      if (windows_of(block).add_fault(block)) add_due(block);
    }
    return {};
  }));
  fill_due((faults + pager::kFaultsPerPart - 1) / pager::kFaultsPerPart);
  return check();
}

void FloorServer::add_due(std::uint32_t block) {
  if (due_.full()) {
    fill_around(due_.oldest().block, kPortionBlocks);
    due_.drop_oldest();
  }
  due_.add({&windows_of(block), block});
}

void FloorServer::fill_due(std::size_t parts) {
  for (; parts > 0 && !due_.empty(); --parts) {
    const pager::Around around = due_.oldest();
    const bool data = around.windows == &data_around_;
    const std::uint32_t limit = data ? pager::kDataPartBlocks : pager::kZeroPartBlocks;
    if (!fill_around(around.block, limit)) due_.drop_oldest();
  }
}

Status FloorServer::do_more() {
  if (!due_.empty()) {
    fill_due(1);
    return check();
  }
  const bool data = data_around_.has_deferred();
  pager::FaultAround& windows = data ? data_around_ : zeros_around_;
  const std::uint32_t limit = data ? pager::kDataPartBlocks : pager::kZeroPartBlocks;
  if (!fill_around(windows.oldest_deferred(), limit)) windows.drop_oldest_deferred();
  return check();
}

Status FloorServer::check() const {
  if (failed_) return fail(ErrorKind::kFailed, "the floor could not fill a fault");
  return {};
}

Status FloorServer::populate(std::span<const BlockRun> runs) {
  for (const BlockRun& run : runs) {
    for (std::uint32_t done = 0; done < run.count;) {
      const std::uint32_t limit = std::min(run.count - done, kPortionBlocks);
      done += fill(run.first + done, {limit, limit});
    }
  }
  return check();
}

PlainServer::PlainServer(const ConnectedGuest& guest, const FaultInput& input)
    : userfaultfd_(guest.userfaultfd.get()),
      address_(guest.region.host_address),
      input_(input),
      buffer_(kBlockBytes) {}

Status PlainServer::fill(std::uint32_t block) {
  const std::uint64_t offset = block * kBlockBytes;
  LAMINA_RETURN_IF_ERROR(os::read_exactly_at(input_.file_fd(), buffer_, offset, input_.file()));
  const os::FillResult result = os::uffd_copy(userfaultfd_, address_ + offset, buffer_);
  if (result.outcome == os::FillOutcome::kDone) return {};
  return system_failure("fill", "guest", result.error_number);
}

Status PlainServer::handle_events() {
  return for_each_fault(userfaultfd_, address_, [&](std::uint32_t block) { return fill(block); });
}

Status PlainServer::populate(std::span<const BlockRun> runs) {
  for (const BlockRun& run : runs) {
    for (std::uint32_t i = 0; i < run.count; ++i) {
      LAMINA_RETURN_IF_ERROR(fill(run.first + i));
    }
  }
  return {};
}

}  // namespace lamina::bench
