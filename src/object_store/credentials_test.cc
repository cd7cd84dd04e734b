#include "object_store/credentials.h"

#include <gtest/gtest.h>

#include <deque>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "object_store/credential_cache.h"
#include "object_store/profile_file.h"
#include "scratch_directory.h"

namespace lamina::object_store {
namespace {

/// Answers requests at once with what the test has put in, and keeps them.
class FakePool final : public HttpPool {
 public:
  void answer_with(int status, const std::string& text) {
    HttpAnswer answer;
    answer.status = status;
    const auto bytes = std::as_bytes(std::span(text));
    answer.body.assign(bytes.begin(), bytes.end());
    answers_.push_back(std::move(answer));
  }
  void fail_next() {
    HttpAnswer answer;
    answer.failure = HttpFailure::kNotConnected;
    answer.message = "connection refused";
    answers_.push_back(std::move(answer));
  }

  Id start(HttpRequest request, bool /*is_urgent*/, Completion completion) override {
    bodies.emplace_back(reinterpret_cast<const char*>(request.body.data()), request.body.size());
    requests.push_back(std::move(request));
    HttpAnswer answer = std::move(answers_.front());
    answers_.pop_front();
    completion(std::move(answer));
    return requests.size();
  }
  Id post(std::function<void()> task) override {
    task();
    return 0;
  }
  void cancel(Id /*id*/) override {}
  [[nodiscard]] int poll_fd() const override { return -1; }
  Status advance(std::chrono::milliseconds /*timeout*/) override { return {}; }

  std::vector<HttpRequest> requests;
  std::vector<std::string> bodies;

 private:
  std::deque<HttpAnswer> answers_;
};

std::string header_of(const HttpRequest& request, std::string_view name) {
  for (const auto& [known, value] : request.headers) {
    if (known == name) return value;
  }
  return {};
}

const std::string kJson =
    R"({"Code":"Success","AccessKeyId":"A","SecretAccessKey":"S","Token":"T",
        "Expiration":"2030-01-01T00:00:00Z"})";

class CredentialsTest : public testing::Test {
 protected:
  CredentialsTest() { variables_["HOME"] = scratch_.path().string(); }

  void set(const std::string& name, const std::string& value) { variables_[name] = value; }

  std::string write(const std::string& name, const std::string& text) {
    const std::string path = scratch_.file(name);
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
    return path;
  }

  [[nodiscard]] CredentialOptions options() const {
    return {.environment = [this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables_.find(name);
      if (found == variables_.end() || found->second.empty()) return std::nullopt;
      return found->second;
    }};
  }

  Result<Credentials> fetch() { return fetch_with(options()); }

  Result<Credentials> fetch_with(const CredentialOptions& options) {
    source_ = nullptr;
    auto source = choose_source(options);
    if (!source) return std::unexpected(source.error());
    source_ = std::move(*source);
    Result<Credentials> result = fail(ErrorKind::kFailed, "no answer");
    source_->fetch(pool_, [&](Result<Credentials> fetched) { result = std::move(fetched); });
    return result;
  }

  FakePool pool_;
  tests::ScratchDirectory scratch_;

 private:
  std::map<std::string, std::string> variables_;
  std::unique_ptr<CredentialSource> source_;
};

TEST_F(CredentialsTest, TheEnvironmentComesFirst) {
  write(".aws/credentials", "[default]\naws_access_key_id=F\naws_secret_access_key=G\n");
  set("AWS_ACCESS_KEY_ID", "A");
  set("AWS_SECRET_ACCESS_KEY", "S");
  set("AWS_SESSION_TOKEN", "T");
  const auto found = fetch();
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->access_key, "A");
  EXPECT_EQ(found->secret_key, "S");
  EXPECT_EQ(found->session_token, "T");
}

TEST_F(CredentialsTest, HalfACredentialIsAnError) {
  set("AWS_ACCESS_KEY_ID", "A");
  const auto found = fetch();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, ErrorKind::kPermission);
}

TEST_F(CredentialsTest, ProfilesAreReadFromTheSharedFiles) {
  write(".aws/credentials",
        "# comment\n[default]\naws_access_key_id = F\naws_secret_access_key = G=H\n"
        "[other]\naws_access_key_id=X\naws_secret_access_key=Y\naws_session_token=Z\n");
  EXPECT_EQ(fetch()->secret_key, "G=H");
  set("AWS_PROFILE", "other");
  EXPECT_EQ(fetch()->session_token, "Z");
}

TEST_F(CredentialsTest, AProfileOfTheConfigFileHasItsOwnHeading) {
  write(".aws/config", "[profile p]\naws_access_key_id=X\naws_secret_access_key=Y\nregion=eu\n");
  CredentialOptions named = options();
  named.profile = "p";
  EXPECT_EQ(fetch_with(named)->access_key, "X");
  EXPECT_EQ(configured_region(named), "eu");
  set("AWS_REGION", "us-west-2");
  EXPECT_EQ(configured_region(named), "us-west-2");
}

TEST_F(CredentialsTest, AMissingProfileThatIsNamedIsAnError) {
  set("AWS_PROFILE", "nowhere");
  const auto found = fetch();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().message, "profile 'nowhere': is in neither of the shared files");
}

TEST_F(CredentialsTest, UnsupportedProfilesSaySo) {
  write(".aws/config", "[default]\nrole_arn=arn\nsource_profile=x\n");
  const auto found = fetch();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().message, "profile 'default': source_profile is not supported");
  EXPECT_FALSE(found.error().remedy.empty());
}

TEST_F(CredentialsTest, WebIdentityIsExchangedForARole) {
  set("AWS_WEB_IDENTITY_TOKEN_FILE", write("token", "to+ken\n"));
  set("AWS_ROLE_ARN", "arn:aws:iam::1:role/r");
  set("AWS_ENDPOINT_URL_STS", "http://sts");
  pool_.answer_with(
      200,
      "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
      "<AccessKeyId>A</AccessKeyId><SecretAccessKey>S</SecretAccessKey><SessionToken>T"
      "</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration></Credentials>"
      "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>");
  const auto found = fetch();
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->session_token, "T");
  EXPECT_TRUE(found->expires);
  EXPECT_EQ(pool_.requests.front().url, "http://sts/");
  EXPECT_EQ(pool_.bodies.front(),
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
            "&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=lamina"
            "&WebIdentityToken=to%2Bken");
}

TEST_F(CredentialsTest, ARefusedTokenIsNotInTheMessage) {
  set("AWS_WEB_IDENTITY_TOKEN_FILE", write("token", "secret-token"));
  set("AWS_ROLE_ARN", "arn");
  pool_.answer_with(400,
                    "<ErrorResponse><Error><Code>InvalidIdentityToken</Code>"
                    "<Message>secret-token</Message></Error></ErrorResponse>");
  const auto found = fetch();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, ErrorKind::kPermission);
  EXPECT_TRUE(found.error().message.contains("InvalidIdentityToken"));
  EXPECT_FALSE(found.error().message.contains("secret-token"));
}

TEST_F(CredentialsTest, TheContainersAgentGetsItsToken) {
  set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x");
  set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", write("token", "tok\n"));
  pool_.answer_with(200, kJson);
  const auto found = fetch();
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->session_token, "T");
  EXPECT_EQ(pool_.requests.front().url, "http://169.254.170.2/v2/x");
  EXPECT_EQ(header_of(pool_.requests.front(), "authorization"), "tok");
  EXPECT_TRUE(pool_.requests.front().is_direct);
}

TEST_F(CredentialsTest, AnAgentElsewhereIsNotTrusted) {
  for (const char* url : {"http://example.com/", "http://169.254.170.2.example.com/",
                          "http://localhost@example.com/", "http://127.0.0.1.example.com/"}) {
    set("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
    const auto found = fetch();
    ASSERT_FALSE(found) << url;
    EXPECT_EQ(found.error().kind, ErrorKind::kPermission);
  }
  EXPECT_TRUE(pool_.requests.empty());
  set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1234/x");
  pool_.answer_with(200, kJson);
  EXPECT_TRUE(fetch());
}

TEST_F(CredentialsTest, TheMetadataServiceIsAskedInThreeSteps) {
  pool_.answer_with(200, "TOKEN");
  pool_.answer_with(200, "my role\n");
  pool_.answer_with(200, kJson);
  const auto found = fetch();
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(pool_.requests.size(), 3U);
  EXPECT_EQ(pool_.requests[0].method, "PUT");
  EXPECT_EQ(pool_.requests[0].url, "http://169.254.169.254/latest/api/token");
  EXPECT_EQ(pool_.requests[2].url,
            "http://169.254.169.254/latest/meta-data/iam/security-credentials/my%20role");
  EXPECT_EQ(header_of(pool_.requests[2], "x-aws-ec2-metadata-token"), "TOKEN");
}

TEST_F(CredentialsTest, WithoutAnySourceTheRemedyNamesTheVariables) {
  pool_.fail_next();
  const auto unreachable = fetch();
  ASSERT_FALSE(unreachable);
  EXPECT_TRUE(unreachable.error().remedy.contains("AWS_ACCESS_KEY_ID"));
  set("AWS_EC2_METADATA_DISABLED", "true");
  const auto none = fetch();
  ASSERT_FALSE(none);
  EXPECT_TRUE(none.error().remedy.contains("AWS_ACCESS_KEY_ID"));
}

TEST_F(CredentialsTest, HostileJsonIsAnError) {
  for (const char* text :
       {"", "[]", "{", "{}", R"({"AccessKeyId":1,"SecretAccessKey":[]})", R"({"Code":"Failed"})"}) {
    set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://agent/");
    pool_.answer_with(200, text);
    const auto found = fetch();
    ASSERT_FALSE(found) << text;
    EXPECT_EQ(found.error().kind, ErrorKind::kPermission);
  }
}

TEST(ProfileFile, SectionsEndAtTheNextHeading) {
  const auto section = section_of("a=0\n[x]\nA = 1\n nested=2\n;b=3\n[y]\na=4\n[ x ]\nc=5", "x");
  ASSERT_TRUE(section);
  EXPECT_EQ(*section, (Profile{{"a", "1"}, {"c", "5"}}));
  EXPECT_FALSE(section_of("[x\na=1\n", "x"));
  EXPECT_FALSE(section_of("", "x"));
}

/// Counts its fetches; each gives credentials that expire an hour later.
class CountingSource final : public CredentialSource {
 public:
  CountingSource(int& count, std::chrono::sys_seconds& now) : count_(count), now_(now) {}
  void fetch(HttpPool& /*pool*/, Completion completion) override {
    ++count_;
    if (fails) return completion(fail(ErrorKind::kFailed, "unreachable"));
    completion(Credentials{.access_key = std::to_string(count_),
                           .secret_key = "s",
                           .expires = now_ + std::chrono::hours(1)});
  }
  bool fails = false;

 private:
  int& count_;
  std::chrono::sys_seconds& now_;
};

class CredentialCacheTest : public testing::Test {
 protected:
  CredentialCacheTest() {
    auto source = std::make_unique<CountingSource>(fetches_, now_);
    source_ = source.get();
    cache_ = std::make_unique<CredentialCache>(std::move(source), [this] { return now_; });
  }
  std::string get() {
    std::string key = "none";
    cache_->get(pool_, [&](const Result<Credentials>& result) {
      key = result ? result->access_key : "error";
    });
    return key;
  }

  int fetches_ = 0;
  std::chrono::sys_seconds now_{std::chrono::seconds(1'700'000'000)};
  FakePool pool_;
  CountingSource* source_ = nullptr;
  std::unique_ptr<CredentialCache> cache_;
};

TEST_F(CredentialCacheTest, CredentialsAreKept) {
  EXPECT_EQ(get(), "1");
  now_ += std::chrono::minutes(50);
  EXPECT_EQ(get(), "1");
  EXPECT_EQ(fetches_, 1);
}

TEST_F(CredentialCacheTest, TheyAreRenewedBeforeTheyExpire) {
  EXPECT_EQ(get(), "1");
  now_ += std::chrono::minutes(57);
  EXPECT_EQ(get(), "1");  // still valid, while others are fetched
  EXPECT_EQ(get(), "2");
}

TEST_F(CredentialCacheTest, AFailedRenewalDoesNotMatterWhileTheyAreValid) {
  EXPECT_EQ(get(), "1");
  now_ += std::chrono::minutes(57);
  source_->fails = true;
  EXPECT_EQ(get(), "1");
  EXPECT_EQ(get(), "1");
  EXPECT_EQ(fetches_, 2);  // not again at once
  now_ += std::chrono::minutes(4);
  EXPECT_EQ(get(), "error");
  source_->fails = false;
  EXPECT_EQ(get(), "4");
}

TEST_F(CredentialCacheTest, DiscardedCredentialsAreFetchedAnew) {
  EXPECT_EQ(get(), "1");
  cache_->discard();
  EXPECT_EQ(get(), "2");
}

}  // namespace
}  // namespace lamina::object_store
