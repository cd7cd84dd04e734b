// What every function of the C interface does around its operation.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "capi/handles.h"
#include "capi/options.h"
#include "capi/reports.h"
#include "capi/results.h"
#include "lamina.h"

namespace lamina::capi {

/// Runs `operation`, which returns a Status, and passes its error on. No exception leaves it.
template <typename Operation>
lamina_code call(std::string_view what, const lamina_error** error,
                 Operation&& operation) noexcept {
  if (error != nullptr) *error = nullptr;
  Status done = contain(what, std::forward<Operation>(operation));
  return done ? LAMINA_OK : report_error(std::move(done.error()), error);
}

/// Passes the result of an operation on in *`out`, if that is not null.
template <typename Described, typename Report>
Status pass_on(Result<Report> result, const Described** out) {
  if (!result) return std::unexpected(std::move(result.error()));
  if (out != nullptr) *out = hold<Described>(std::move(*result));
  return {};
}

/// The same with options: `operation` gets them as C++ has them, and returns a Result of the
/// report.
template <typename Options, typename Described, typename Operation>
lamina_code call(std::string_view what, std::string_view options_name, const Options* options,
                 const Described** report, const lamina_error** error,
                 Operation&& operation) noexcept {
  if (report != nullptr) *report = nullptr;
  return call(what, error, [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(const Options given, read_struct(options_name, options));
    OptionReader reader;
    auto converted = convert(reader, given);
    LAMINA_RETURN_IF_ERROR(reader.status());
    return pass_on(operation(std::move(converted)), report);
  });
}

/// The store of an operation that can do without: null if `handle` is null. Then `snapshot` must be
/// a path, not a name.
inline Result<std::shared_ptr<const Store>> store_or_path(const lamina_store* handle,
                                                          const std::string& snapshot) {
  if (handle != nullptr) return object_of(handle);
  if (snapshot.find('/') != std::string::npos) return nullptr;
  return with_remedy(
      fail(ErrorKind::kUsage, "the store is null, and snapshot '{}' is not a path", snapshot),
      "pass a store, or a path with a slash");
}

}  // namespace lamina::capi
