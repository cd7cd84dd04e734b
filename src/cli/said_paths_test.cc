#include "cli/said_paths.h"

#include <gtest/gtest.h>

namespace lamina::cli {
namespace {

SaidPaths paths() {
  SaidPaths paths;
  paths.add("/srv/store", "store");
  paths.add("/srv/store/a", "a");
  paths.add("/run/vm.sock", "./vm.sock");
  return paths;
}

TEST(SaidPaths, ShowsTheLongestThatFits) {
  EXPECT_EQ(paths().shown("/srv/store/a"), "a");
  EXPECT_EQ(paths().shown("/srv/store/a/memfile.header"), "a/memfile.header");
  EXPECT_EQ(paths().shown("/srv/store/b"), "store/b");
  EXPECT_EQ(paths().shown("/srv/store"), "store");
  EXPECT_EQ(paths().shown("snapshot '/srv/store/a': busy, see '/srv/store/.lock/a'"),
            "snapshot 'a': busy, see 'store/.lock/a'");
  EXPECT_EQ(paths().shown("firecracker at '/run/vm.sock': GET /: closed"),
            "firecracker at './vm.sock': GET /: closed");
}

TEST(SaidPaths, LeavesOtherPathsAlone) {
  for (const char* text : {"", "no path", "/srv/store2/a", "/srv/store.old", "/jail/srv/store/a",
                           "/srv/stor", "/run/vm.sock.2", "//srv/store"}) {
    EXPECT_EQ(paths().shown(text), text);
  }
  // Its name begins with that of another; in the store it is all the same.
  EXPECT_EQ(paths().shown("/srv/store/a@1"), "store/a@1");
}

TEST(SaidPaths, WhatIsShownIsNotLookedAtAgain) {
  SaidPaths turned;
  turned.add("/a", "/b");
  turned.add("/b", "/a");
  EXPECT_EQ(turned.shown("/a /b"), "/b /a");
}

TEST(SaidPaths, ChangesAllTextsOfADocumentButNoNames) {
  report::Json document = {
      {"/srv/store", 1}, {"x", {"/srv/store/b", 2, nullptr}}, {"y", "/srv/store"}};
  paths().show(document);
  EXPECT_EQ(document.dump(), R"({"/srv/store":1,"x":["store/b",2,null],"y":"store"})");
}

}  // namespace
}  // namespace lamina::cli
