#include "object_store/credential_services.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/contain.h"
#include "base/error.h"
#include "base/escape.h"
#include "object_store/encoding.h"
#include "object_store/s3_xml.h"
#include "os/file.h"

namespace lamina::object_store {
namespace {

constexpr std::uint64_t kMaxTokenBytes = std::uint64_t{64} << 10;

Limits service_limits(std::chrono::milliseconds connect, std::chrono::milliseconds deadline) {
  return Limits{.deadline = deadline, .connect = connect, .stall = deadline};
}

std::string_view as_text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A file with one token, without white space at its end.
Result<std::string> read_token(const std::string& path) {
  auto opened = os::open_regular(AT_FDCWD, path, O_RDONLY, path);
  if (!opened) return of_kind(ErrorKind::kPermission, std::unexpected(opened.error()));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          os::read_whole(opened->fd.get(), kMaxTokenBytes, path));
  std::string_view token = as_text(bytes);
  while (!token.empty() && std::string_view(" \t\r\n").contains(token.back())) {
    token.remove_suffix(1);
  }
  if (token.empty()) return fail(ErrorKind::kPermission, "'{}' is empty", path);
  return std::string(token);
}

/// Success, or why `answer` is of no use.
Status check_answer(std::string_view service, const HttpAnswer& answer) {
  if (answer.failure != HttpFailure::kNone || answer.status == 0) {
    return fail(ErrorKind::kFailed, "credentials from {}: {}", service, answer.message);
  }
  if (answer.status == 200) return {};
  const auto error = error_in(answer.body);
  return fail(answer.status >= 500 ? ErrorKind::kFailed : ErrorKind::kPermission,
              "credentials from {}: status {}{}", service, answer.status,
              error ? " " + escaped_value(error->code) : std::string());
}

std::string text_field(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// The JSON that the container agent and the metadata service share.
Result<Credentials> credentials_of_json(std::string_view service, const HttpAnswer& answer) {
  LAMINA_RETURN_IF_ERROR(check_answer(service, answer));
  const auto json = nlohmann::json::parse(as_text(answer.body), nullptr, false);
  if (!json.is_object()) {
    return fail(ErrorKind::kPermission, "credentials from {}: not a JSON object", service);
  }
  Credentials credentials{.access_key = text_field(json, "AccessKeyId"),
                          .secret_key = text_field(json, "SecretAccessKey"),
                          .session_token = text_field(json, "Token"),
                          .expires = time_of_iso8601(text_field(json, "Expiration"))};
  if (credentials.access_key.empty() || credentials.secret_key.empty()) {
    return fail(ErrorKind::kPermission, "credentials from {}: no keys in the answer ({})", service,
                escaped_value(text_field(json, "Code")));
  }
  return credentials;
}

/// Runs `make` and calls `completion` with its result, whatever it throws.
template <typename Make>
void complete(const CredentialSource::Completion& completion, Make&& make) {
  completion(contain("credentials", std::forward<Make>(make)));
}

class WebIdentitySource final : public CredentialSource {
 public:
  WebIdentitySource(WebIdentity identity, const Environment& environment)
      : identity_(std::move(identity)) {
    if (identity_.session_name.empty()) identity_.session_name = "lamina";
    if (identity_.region.empty()) identity_.region = "us-east-1";
    endpoint_ = environment("AWS_ENDPOINT_URL_STS")
                    .value_or(fmt::format("https://sts.{}.amazonaws.com{}", identity_.region,
                                          identity_.region.starts_with("cn-") ? ".cn" : ""));
  }

  void fetch(HttpPool& pool, Completion completion) override {
    const auto token = read_token(identity_.token_file);
    if (!token) return completion(std::unexpected(token.error()));
    form_ = fmt::format(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName={}"
        "&WebIdentityToken={}",
        percent_encoded(identity_.role), percent_encoded(identity_.session_name),
        percent_encoded(*token));
    HttpRequest request;
    request.method = "POST";
    request.url = endpoint_.ends_with('/') ? endpoint_ : endpoint_ + "/";
    request.headers = {{"content-type", "application/x-www-form-urlencoded"}};
    request.body = std::as_bytes(std::span(form_));
    request.limits = service_limits(std::chrono::seconds(5), std::chrono::seconds(20));
    pool.start(std::move(request), true,
               [completion = std::move(completion)](const HttpAnswer& answer) {
                 complete(completion, [&]() -> Result<Credentials> {
                   LAMINA_RETURN_IF_ERROR(check_answer("the token service", answer));
                   return credentials_in(answer.body);
                 });
               });
  }

 private:
  WebIdentity identity_;
  std::string endpoint_;
  std::string form_;  // while a request uses it
};

class ContainerSource final : public CredentialSource {
 public:
  ContainerSource(std::string url, std::string token, std::string token_file)
      : url_(std::move(url)), token_(std::move(token)), token_file_(std::move(token_file)) {}

  void fetch(HttpPool& pool, Completion completion) override {
    std::string token = token_;
    if (!token_file_.empty()) {
      auto read = read_token(token_file_);
      if (!read) return completion(std::unexpected(read.error()));
      token = std::move(*read);
    }
    HttpRequest request;
    request.url = url_;
    if (!token.empty()) request.headers = {{"authorization", std::move(token)}};
    request.is_direct = true;
    request.limits = service_limits(std::chrono::seconds(2), std::chrono::seconds(10));
    pool.start(
        std::move(request), true, [completion = std::move(completion)](const HttpAnswer& answer) {
          complete(completion, [&] { return credentials_of_json("the container agent", answer); });
        });
  }

 private:
  std::string url_;
  std::string token_;
  std::string token_file_;
};

/// Three requests in turn: a session token, the name of the instance's role, its credentials.
class MetadataSource final : public CredentialSource {
 public:
  explicit MetadataSource(std::string endpoint) : endpoint_(std::move(endpoint)) {
    while (endpoint_.ends_with('/')) endpoint_.pop_back();
  }

  void fetch(HttpPool& pool, Completion completion) override {
    pool_ = &pool;
    completion_ = std::move(completion);
    HttpRequest request = make_request("/latest/api/token");
    request.method = "PUT";
    request.headers = {{"x-aws-ec2-metadata-token-ttl-seconds", "21600"}};
    pool.start(std::move(request), true, [this](const HttpAnswer& answer) { take_token(answer); });
  }

 private:
  static constexpr std::string_view kService = "the instance's metadata service";
  static constexpr std::string_view kRoles = "/latest/meta-data/iam/security-credentials/";

  [[nodiscard]] HttpRequest make_request(std::string_view path) const {
    HttpRequest request;
    request.url = endpoint_ + std::string(path);
    request.is_direct = true;
    request.limits = service_limits(std::chrono::seconds(1), std::chrono::seconds(3));
    if (!token_.empty()) request.headers = {{"x-aws-ec2-metadata-token", token_}};
    return request;
  }

  void end(Result<Credentials> result) { std::exchange(completion_, nullptr)(std::move(result)); }

  void end_with(std::unexpected<Error> failure) {
    end(with_remedy(std::move(failure),
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"));
  }

  void take_token(const HttpAnswer& answer) {
    token_.clear();
    const Status checked = check_answer(kService, answer);
    if (!checked) return end_with(std::unexpected(checked.error()));
    const std::string token(as_text(answer.body));
    if (token.empty() || token.find_first_of("\r\n") != std::string::npos) {
      return end_with(fail(ErrorKind::kPermission, "credentials from {}: no token", kService));
    }
    token_ = token;
    pool_->start(make_request(kRoles), true, [this](const HttpAnswer& next) { take_role(next); });
  }

  void take_role(const HttpAnswer& answer) {
    const Status checked = check_answer(kService, answer);
    if (!checked) return end_with(std::unexpected(checked.error()));
    std::string_view role = as_text(answer.body);
    role = role.substr(0, role.find_first_of("\r\n"));
    if (role.empty()) {
      return end_with(fail(ErrorKind::kPermission, "the instance has no role"));
    }
    pool_->start(make_request(std::string(kRoles) + percent_encoded(role)), true,
                 [this](const HttpAnswer& next) {
                   complete([this](Result<Credentials> result) { end(std::move(result)); },
                            [&] { return credentials_of_json(kService, next); });
                 });
  }

  std::string endpoint_;
  std::string token_;
  HttpPool* pool_ = nullptr;
  Completion completion_;
};

/// The host in an http URL, without its port.
std::string_view host_in(std::string_view url) {
  std::string_view host = url.substr(url.find("//") + 2);
  host = host.substr(0, host.find_first_of("/?#"));
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

bool is_agent(std::string_view url) {
  if (url.starts_with("https://")) return true;
  if (!url.starts_with("http://") || url.contains('@')) return false;
  static constexpr std::array<std::string_view, 6> kHosts = {
      "localhost", "127.0.0.1", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"};
  for (const std::string_view host : kHosts) {
    if (host_in(url) == host) return true;
  }
  return false;
}

}  // namespace

std::unique_ptr<CredentialSource> web_identity_source(WebIdentity identity,
                                                      const Environment& environment) {
  return std::make_unique<WebIdentitySource>(std::move(identity), environment);
}

Result<std::unique_ptr<CredentialSource>> container_source(const Environment& environment) {
  std::string url;
  if (const auto relative = environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")) {
    url = "http://169.254.170.2" + *relative;
  } else {
    url = environment("AWS_CONTAINER_CREDENTIALS_FULL_URI").value_or("");
  }
  if (!is_agent(url)) {
    return with_remedy(
        fail(ErrorKind::kPermission, "AWS_CONTAINER_CREDENTIALS_FULL_URI '{}' is not trusted",
             escaped_value(url)),
        "use https, or a service of this host");
  }
  return std::make_unique<ContainerSource>(
      std::move(url), environment("AWS_CONTAINER_AUTHORIZATION_TOKEN").value_or(""),
      environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").value_or(""));
}

std::unique_ptr<CredentialSource> metadata_source(const Environment& environment) {
  return std::make_unique<MetadataSource>(
      environment("AWS_EC2_METADATA_SERVICE_ENDPOINT").value_or("http://169.254.169.254"));
}

}  // namespace lamina::object_store
