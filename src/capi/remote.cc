// Snapshots in an object store.
#include "lamina/remote.h"

#include "capi/call.h"
#include "lamina/remote_keys.h"
#include "lamina/store.h"

using lamina::Result;
using namespace lamina::capi;

lamina_code lamina_push(lamina_store* store, const lamina_push_options* options,
                        const lamina_push_report** report, const lamina_error** error) {
  return call("push", "lamina_push_options", options, report, error,
              [&](lamina::PushOptions given) -> Result<lamina::PushReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, store_or_path(store, given.snapshot));
                const bool is_name = given.snapshot.find('/') == std::string::npos;
                if (is_name) given.snapshot = found->path_of(given.snapshot);
                return lamina::push_snapshot(given);
              });
}

lamina_code lamina_pull(lamina_store* store, const lamina_pull_options* options,
                        const lamina_pull_report** report, const lamina_error** error) {
  return call("pull", "lamina_pull_options", options, report, error,
              [&](lamina::PullOptions given) -> Result<lamina::PullReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
                given.store = found->path();
                return lamina::pull_snapshot(given);
              });
}

lamina_code lamina_begin_pull(lamina_store* store, const lamina_begin_pull_options* options,
                              const lamina_begin_pull_report** report, const lamina_error** error) {
  return call("begin to pull", "lamina_begin_pull_options", options, report, error,
              [&](lamina::LazyPullOptions given) -> Result<lamina::LazyPullReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
                given.pull.store = found->path();
                return lamina::begin_pull(given);
              });
}

lamina_code lamina_fetch_arriving(lamina_store* store, const lamina_fetch_options* options,
                                  const lamina_fetch_report** report, const lamina_error** error) {
  return call("fetch", "lamina_fetch_options", options, report, error,
              [&](lamina::FetchOptions given) -> Result<lamina::FetchReport> {
                LAMINA_ASSIGN_OR_RETURN(const auto found, object_of(store));
                given.store = found->path();
                return lamina::fetch_arriving(given);
              });
}

lamina_code lamina_remote_list(const lamina_remote_list_options* options,
                               const lamina_remote_list_report** report,
                               const lamina_error** error) {
  return call("list the bucket", "lamina_remote_list_options", options, report, error,
              [](const lamina::RemoteListOptions& given) { return lamina::list_remote(given); });
}

lamina_code lamina_remote_remove(const lamina_remote_remove_options* options,
                                 const lamina_remote_remove_report** report,
                                 const lamina_error** error) {
  return call(
      "remove from the bucket", "lamina_remote_remove_options", options, report, error,
      [](const lamina::RemoteRemoveOptions& given) { return lamina::remove_remote(given); });
}

lamina_code lamina_prune(const lamina_prune_options* options, const lamina_prune_report** report,
                         const lamina_error** error) {
  return call("prune", "lamina_prune_options", options, report, error,
              [](const lamina::PruneOptions& given) { return lamina::prune_remote(given); });
}

lamina_code lamina_remote_key_list(const lamina_remote_key_list_options* options,
                                   const lamina_remote_key_list_report** report,
                                   const lamina_error** error) {
  return call(
      "list the keys", "lamina_remote_key_list_options", options, report, error,
      [](const lamina::RemoteKeysOptions& given) { return lamina::list_remote_keys(given); });
}

lamina_code lamina_remote_key_rotate(const lamina_remote_key_rotate_options* options,
                                     const lamina_remote_key_rotate_report** report,
                                     const lamina_error** error) {
  return call(
      "rotate the key", "lamina_remote_key_rotate_options", options, report, error,
      [](const lamina::RotateKeyOptions& given) { return lamina::rotate_remote_key(given); });
}

lamina_code lamina_remote_key_destroy(const lamina_remote_key_destroy_options* options,
                                      const lamina_remote_key_destroy_report** report,
                                      const lamina_error** error) {
  return call(
      "destroy the key", "lamina_remote_key_destroy_options", options, report, error,
      [](const lamina::DestroyKeyOptions& given) { return lamina::destroy_remote_key(given); });
}
