#include "fault_contenders.h"

#include <utility>

#include "base/block.h"
#include "base/error.h"

namespace lamina::bench {
namespace {

/// What one run of a contender has.
struct Running {
  std::unique_ptr<ConnectedGuest> guest;
  std::unique_ptr<FaultServer> server;
  std::unique_ptr<Pinned> pinned;
};

Status prepare(Running& running, const FaultSetting& setting, const ServerMaker& maker,
               const std::string& mapped_file) {
  GuestTask task;
  task.memory_bytes = setting.input->block_count() * kBlockBytes;
  task.touches = *setting.touches;
  task.cpu = setting.placement.guest;
  task.measure = setting.measure;
  task.threads = setting.threads;
  task.mapped_file = mapped_file;
  LAMINA_ASSIGN_OR_RETURN(running.guest, connect_guest(task));
  LAMINA_ASSIGN_OR_RETURN(running.server, maker(*running.guest, *setting.input));
  running.pinned = std::make_unique<Pinned>(setting.placement.server);
  return {};
}

Status touch_all(Running& running, const FaultSetting& setting) {
  LAMINA_RETURN_IF_ERROR(running.guest->guest->go(0, setting.touches->size()));
  return serve_until_done(*running.guest, *running.server);
}

Status check_sum(const Running& running, const FaultSetting& setting) {
  if (running.guest->guest->sum() == setting.input->expected_sum(*setting.touches)) return {};
  return fail(ErrorKind::kCorrupt, "the guest read other bytes than the snapshot has");
}

Contender touching_with(const std::string& name, const FaultSetting& setting,
                        const ServerMaker& maker, const std::string& mapped_file,
                        std::function<void(const TouchingGuest&)> after) {
  const auto running = std::make_shared<Running>();
  return {name,
          [=] { return prepare(*running, setting, maker, mapped_file); },
          [=] { return touch_all(*running, setting); },
          {},
          [=, after = std::move(after)]() -> Status {
            LAMINA_RETURN_IF_ERROR(check_sum(*running, setting));
            if (after) after(*running->guest->guest);
            *running = {};
            return {};
          }};
}

}  // namespace

std::vector<Placement> placements() {
  const CpuPair cpus = usable_cpus();
  std::vector<Placement> all = {{"same-cpu", cpus.first, cpus.first}};
  if (cpus.first != cpus.last) all.push_back({"other-cpu", cpus.first, cpus.last});
  return all;
}

ServerMaker session_server(const pager::FaultLimits& limits,
                           std::shared_ptr<pager::PlanReader> reader) {
  return [=](const ConnectedGuest& guest,
             const FaultInput& input) -> Result<std::unique_ptr<FaultServer>> {
    LAMINA_ASSIGN_OR_RETURN(auto server,
                            SessionServer::create(guest, input.chain(), limits, reader));
    return server;
  };
}

Result<std::shared_ptr<pager::PlanReader>> start_reader(const FaultSetting& setting) {
  const Pinned pinned(setting.placement.guest);  // its thread inherits that
  LAMINA_ASSIGN_OR_RETURN(std::shared_ptr<pager::PlanReader> reader, pager::PlanReader::start());
  return reader;
}

ServerMaker floor_server(const pager::FaultLimits& limits, FloorSource source, FloorOrder order) {
  return [=](const ConnectedGuest& guest,
             const FaultInput& input) -> Result<std::unique_ptr<FaultServer>> {
    return std::make_unique<FloorServer>(guest, input, limits, source, order);
  };
}

ServerMaker plain_server() {
  return [](const ConnectedGuest& guest,
            const FaultInput& input) -> Result<std::unique_ptr<FaultServer>> {
    return std::make_unique<PlainServer>(guest, input);
  };
}

Contender touching(const std::string& name, const FaultSetting& setting, const ServerMaker& maker,
                   std::function<void(const TouchingGuest&)> after) {
  return touching_with(name, setting, maker, "", std::move(after));
}

Contender touching_file(const FaultSetting& setting) {
  return touching_with("file mapping", setting, floor_server(), setting.input->file(), {});
}

Contender populating(const std::string& name, const FaultSetting& setting, const ServerMaker& maker,
                     const std::vector<BlockRun>& runs) {
  const auto running = std::make_shared<Running>();
  return {name, [=] { return prepare(*running, setting, maker, ""); },
          [=, &runs] { return running->server->populate(runs); },
          [=]() -> Status {
            LAMINA_RETURN_IF_ERROR(touch_all(*running, setting));
            return check_sum(*running, setting);
          },
          [=]() -> Status {
            *running = {};
            return {};
          }};
}

}  // namespace lamina::bench
