// The request to fork a VM that runs on, as requests.h.
#pragma once

#include <utility>
#include <vector>

#include "lamina/live_fork.h"
#include "schema/requests.h"

namespace lamina::schema {

/// A process that becomes a clone. Its timeouts are those of the source.
struct CloneRequest {
  VmmAddress vmm;
  CloneDevices devices;
};

struct LiveForkRequest {
  PauseOptions pause = running_on();
  ResumeOptions resume;  ///< of all clones
  std::vector<CloneRequest> clones;

 private:
  static PauseOptions running_on() {
    PauseOptions options;
    options.after = AfterPause::kResume;
    return options;
  }
};

/// The devices of `options.resume`, which all clones would have, are not in the request.
inline LiveForkRequest request_of(const LiveForkOptions& options) {
  LiveForkRequest request;
  request.pause = options.pause;
  request.resume = options.resume;
  request.clones.reserve(options.clones.size());
  for (std::size_t i = 0; i < options.clones.size(); ++i) {
    request.clones.push_back(
        {options.clones[i], options.devices.empty() ? CloneDevices() : options.devices[i]});
  }
  return request;
}

inline LiveForkOptions options_of(LiveForkRequest request) {
  LiveForkOptions options;
  options.pause = std::move(request.pause);
  options.resume = std::move(request.resume);
  options.clones.reserve(request.clones.size());
  options.devices.reserve(request.clones.size());
  for (CloneRequest& clone : request.clones) {
    clone.vmm.timeouts = options.pause.vmm.timeouts;
    options.clones.push_back(std::move(clone.vmm));
    options.devices.push_back(std::move(clone.devices));
  }
  return options;
}

template <typename Visitor, Is<CloneRequest> Request>
void describe(Visitor& v, Request& r) {
  describe_place(v, r.vmm);
  describe_devices(v, r.devices);
}

template <typename Visitor, Is<LiveForkRequest> Request>
void describe(Visitor& v, Request& r) {
  describe_state(v, r.pause);
  describe_writing(v, r.pause);
  describe_memory(v, r.resume);
  describe_guest(v, r.resume);
  v.list({.name = "clones",
          .help = "Processes of the source's VMM that were just started and become clones",
          .required = true,
          .component = "CloneRequest"},
         r.clones);
}

}  // namespace lamina::schema
