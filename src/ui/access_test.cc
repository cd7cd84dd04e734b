#include "ui/access.h"

#include <gtest/gtest.h>

namespace lamina::ui {
namespace {

const AccessRules kRules{"secret", {"127.0.0.1:4711", "localhost:4711"}};

struct Given : http::ServerRequest {
  http::HeaderFields fields;
};

Given request_for(std::string path) {
  Given request;
  request.method = "GET";
  request.path = std::move(path);
  request.fields = {{"host", "127.0.0.1:4711"}};
  return request;
}

unsigned status_of(const Given& request) {
  const auto refused = refusal_of(request, request.fields, kRules);
  return refused ? refused->status : 200;
}

TEST(ConsoleAccess, AnswersItsOwnPage) {
  Given request = request_for("/secret/api/store");
  EXPECT_EQ(status_of(request), 200U);
  EXPECT_EQ(path_below_token(request, kRules), "api/store");
  request.fields.emplace_back("origin", "http://127.0.0.1:4711");
  request.fields.emplace_back("sec-fetch-site", "same-origin");
  EXPECT_EQ(status_of(request), 200U);
  request.fields = {{"host", "LOCALHOST:4711"}, {"sec-fetch-site", "none"}};
  EXPECT_EQ(status_of(request), 200U);
  EXPECT_EQ(path_below_token(request_for("/secret/"), kRules), "");
}

TEST(ConsoleAccess, RefusesOtherHosts) {
  for (const char* host :
       {"", "127.0.0.1", "127.0.0.1:4712", "evil.example:4711", "127.0.0.1:47111"}) {
    Given request = request_for("/secret/");
    request.fields = {{"host", host}};
    EXPECT_EQ(status_of(request), 403U) << host;
  }
  Given without = request_for("/secret/");
  without.fields.clear();
  EXPECT_EQ(status_of(without), 403U);
  Given twice = request_for("/secret/");
  twice.fields.emplace_back("host", "127.0.0.1:4711");
  EXPECT_EQ(status_of(twice), 403U);
}

TEST(ConsoleAccess, RefusesOtherSites) {
  for (const char* origin : {"null", "http://evil.example", "https://127.0.0.1:4711",
                             "http://localhost:4711", "http://127.0.0.1:4711.evil.example"}) {
    Given request = request_for("/secret/");
    request.fields.emplace_back("origin", origin);
    EXPECT_EQ(status_of(request), 403U) << origin;
  }
  for (const char* site : {"cross-site", "same-site"}) {
    Given request = request_for("/secret/");
    request.fields.emplace_back("sec-fetch-site", site);
    EXPECT_EQ(status_of(request), 403U) << site;
  }
}

TEST(ConsoleAccess, RefusesRequestsWithoutTheToken) {
  for (const char* path : {"", "/", "/secret", "secret/", "/secre/", "/secrets/", "/Secret/",
                           "//secret/", "/api/store", "/x/secret/"}) {
    EXPECT_EQ(status_of(request_for(path)), 403U) << path;
  }
}

TEST(ConsoleAccess, RefusesWrites) {
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "PATCH"}) {
    Given request = request_for("/secret/");
    request.method = method;
    EXPECT_EQ(status_of(request), 405U) << method;
  }
}

TEST(ConsoleAccess, ActionsNeedTheirTokenAndTheOrigin) {
  AccessRules rules = kRules;
  rules.action_token = "act";
  const auto status = [&](const Given& request) {
    const auto refused = refusal_of(request, request.fields, rules);
    return refused ? refused->status : 200;
  };
  Given good = request_for("/secret/api/act/remove");
  good.method = "POST";
  good.fields.emplace_back("origin", "http://127.0.0.1:4711");
  good.fields.emplace_back("lamina-action-token", "act");
  EXPECT_EQ(status(good), 200U);
  EXPECT_EQ(status_of(good), 405U) << "without --allow-actions";
  for (std::size_t field = 0; field < good.fields.size(); ++field) {
    Given without = good;
    without.fields.erase(without.fields.begin() + static_cast<std::ptrdiff_t>(field));
    EXPECT_EQ(status(without), 403U) << good.fields[field].first;
    Given wrong = good;
    wrong.fields[field].second += "x";
    EXPECT_EQ(status(wrong), 403U) << good.fields[field].first;
    Given twice = good;
    twice.fields.push_back(good.fields[field]);
    EXPECT_EQ(status(twice), 403U) << good.fields[field].first;
  }
  Given cross = good;
  cross.fields.emplace_back("sec-fetch-site", "same-site");
  EXPECT_EQ(status(cross), 403U);
  Given no_secret = good;
  no_secret.path = "/act/api/act/remove";
  EXPECT_EQ(status(no_secret), 403U);
  for (const char* method : {"PUT", "DELETE", "OPTIONS", "PATCH"}) {
    Given other = good;
    other.method = method;
    EXPECT_EQ(status(other), 405U) << method;
  }
}

}  // namespace
}  // namespace lamina::ui
