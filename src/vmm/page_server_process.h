// The store's page server, as a process of its own that outlives whoever started it.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lamina/result.h"
#include "store/store.h"
#include "sys/event.h"

namespace lamina::vmm {

/// Makes sure that a page server runs for the store: when none does, starts `command` in a session
/// of its own, with its output appended to <store>/.vms/page-server.log, and waits until it says
/// that it is ready (READY=1 to $NOTIFY_SOCKET). Returns whether it was started. kFailed, with the
/// last line of the log, when it ends instead; and when none runs and `command` is empty.
Result<bool> ensure_page_server(const store::Store& store, const std::vector<std::string>& command);

/// Starts the page server anew when it is gone, for as long as this lives: a VM that is being
/// loaded waits for its pages, and who waits for the VM would wait with it.
class PageServerWatch {
 public:
  /// Both must outlive it.
  static Result<std::unique_ptr<PageServerWatch>> start(const store::Store& store,
                                                        const std::vector<std::string>& command);
  PageServerWatch(const PageServerWatch&) = delete;
  PageServerWatch& operator=(const PageServerWatch&) = delete;
  PageServerWatch(PageServerWatch&&) = delete;
  PageServerWatch& operator=(PageServerWatch&&) = delete;
  ~PageServerWatch();

 private:
  PageServerWatch(const store::Store& store, const std::vector<std::string>& command,
                  sys::Event over)
      : store_(store), command_(command), over_(std::move(over)) {}

  void watch() const;

  const store::Store& store_;
  const std::vector<std::string>& command_;
  sys::Event over_;
  std::thread thread_;  ///< the last: it uses the others
};

}  // namespace lamina::vmm
