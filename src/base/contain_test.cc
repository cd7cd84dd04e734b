#include "base/contain.h"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>
#include <system_error>

#include "base/error.h"

namespace lamina {
namespace {

TEST(Contain, ResultsPassThrough) {
  EXPECT_EQ(contain("sum", []() -> Result<int> { return 7; }).value(), 7);
  const Status failed = contain("sum", []() -> Status { return fail(ErrorKind::kBusy, "later"); });
  EXPECT_EQ(failed.error().kind, ErrorKind::kBusy);
  EXPECT_EQ(failed.error().message, "later");
}

TEST(Contain, ExceptionsBecomeErrors) {
  const auto message_of = [](auto thrown) {
    return contain("sum", [&]() -> Status { throw thrown; }).error().message;
  };
  EXPECT_EQ(message_of(std::bad_alloc()), "sum: out of memory");
  EXPECT_EQ(message_of(std::system_error(EAGAIN, std::generic_category())),
            "sum: Resource temporarily unavailable");
  EXPECT_EQ(message_of(std::length_error("too long")), "sum: too long");
  EXPECT_EQ(message_of(7), "sum: unknown exception");
}

}  // namespace
}  // namespace lamina
