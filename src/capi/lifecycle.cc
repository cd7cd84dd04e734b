// Pause, resume, recover, and the page server.
#include "lamina/lifecycle.h"

#include "capi/call.h"
#include "lamina/live_fork.h"
#include "lamina/serve.h"
#include "lamina/store.h"

using lamina::ErrorKind;
using lamina::Result;
using lamina::Status;
using namespace lamina::capi;

lamina_code lamina_pause(lamina_store* store, const lamina_pause_options* options,
                         const lamina_pause_report** report, const lamina_error** error) {
  return call("pause", "lamina_pause_options", options, report, error,
              [&](lamina::PauseOptions given) -> Result<lamina::PauseReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
                return found->pause(std::move(given));
              });
}

lamina_code lamina_resume(lamina_store* store, const lamina_resume_options* options,
                          const lamina_resume_report** report, const lamina_error** error) {
  return call("resume", "lamina_resume_options", options, report, error,
              [&](lamina::ResumeOptions given) -> Result<lamina::ResumeReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
                return found->resume(std::move(given));
              });
}

lamina_code lamina_live_fork(lamina_store* store, const lamina_live_fork_options* options,
                             const lamina_live_fork_report** report, const lamina_error** error) {
  return call("live fork", "lamina_live_fork_options", options, report, error,
              [&](lamina::LiveForkOptions given) -> Result<lamina::LiveForkReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
                given.pause.store = found->path();
                return lamina::live_fork(given);
              });
}

lamina_code lamina_recover(lamina_store* store, const lamina_recover_options* options,
                           const lamina_recover_report** report, const lamina_error** error) {
  return call("recover", "lamina_recover_options", options, report, error,
              [&](lamina::RecoverOptions given) -> Result<lamina::RecoverReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
                return found->recover(std::move(given));
              });
}

lamina_code lamina_find_page_server(lamina_store* store, lamina_page_server_state* state,
                                    const lamina_error** error) {
  if (state != nullptr) *state = LAMINA_PAGE_SERVER_NONE;
  return call("find the page server", error, [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
    if (state != nullptr) *state = number_of(lamina::find_store_server(found->path()));
    return {};
  });
}

lamina_code lamina_page_server_metrics(lamina_store* store, const lamina_text** metrics,
                                       const lamina_error** error) {
  if (metrics != nullptr) *metrics = nullptr;
  return call("read the metrics", error, [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
    return pass_on(lamina::read_serve_metrics(lamina::page_server_metrics_socket(found->path())),
                   metrics);
  });
}
