// A small HTTP server for tests, on a port of its own of 127.0.0.1: Python's http.server knows no ranges, and none can
// be told to break a connection off.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

// Serves `body` at /file and answers 404 elsewhere; /redirect leads to /file.
class HttpServer {
 public:
  std::string body;
  bool ranges = true;                  // else every answer is the whole file
  std::atomic<size_t> cut_after = -1;  // bytes of the answer's body, then the connection breaks off
  std::atomic<bool> stall = false;     // instead of breaking off, say nothing more

  HttpServer() {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    const auto generic = reinterpret_cast<sockaddr*>(&address);
    if (listener_ < 0 || bind(listener_, generic, size) != 0 || listen(listener_, 8) != 0 ||
        getsockname(listener_, generic, &size) != 0) {
      throw std::runtime_error("the test's HTTP server cannot listen");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~HttpServer() {
    quit_ = true;
    thread_.join();
    close(listener_);
  }
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::string url(const std::string& path) const { return "http://127.0.0.1:" + std::to_string(port_) + path; }

  // What was asked for, and from where: "/file 0", "/file 500".
  std::vector<std::string> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  bool readable(int descriptor) {  // or quitting
    pollfd waiting{descriptor, POLLIN, 0};
    while (!quit_) {
      if (poll(&waiting, 1, 20) > 0) return true;
    }
    return false;
  }

  void serve() {
    while (readable(listener_)) {
      const int client = accept(listener_, nullptr, nullptr);
      if (client < 0) continue;
      answer(client);
      close(client);
    }
  }

  void answer(int client) {
    std::string request;
    while (request.find("\r\n\r\n") == std::string::npos) {
      char bytes[4096];
      const ssize_t got = readable(client) ? recv(client, bytes, sizeof bytes, 0) : 0;
      if (got <= 0) return;
      request.append(bytes, size_t(got));
    }
    const size_t begin = request.find(' ') + 1;
    const std::string path = request.substr(begin, request.find(' ', begin) - begin);
    const std::string header = "\r\nRange: bytes=";
    const size_t at = request.find(header);
    const size_t from = at == std::string::npos ? 0 : std::strtoul(&request[at + header.size()], nullptr, 10);
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(path + " " + std::to_string(from));
    }
    if (path == "/redirect") return send_all(client, "302 Found\r\nLocation: /file", "moved to /file");
    if (path != "/file") return send_all(client, "404 Not Found", "there is no such file here");
    if (!ranges || at == std::string::npos) return send_all(client, "200 OK", body);
    const std::string size = std::to_string(body.size());
    if (from >= body.size()) {
      return send_all(client, "416 Range Not Satisfiable\r\nContent-Range: bytes */" + size, "no such range");
    }
    send_all(client,
             "206 Partial Content\r\nContent-Range: bytes " + std::to_string(from) + "-" +
                 std::to_string(body.size() - 1) + "/" + size,
             body.substr(from));
  }

  void send_all(int client, const std::string& status, const std::string& content) {
    std::string bytes = "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(content.size()) +
                        "\r\nConnection: close\r\n\r\n" + content.substr(0, cut_after);
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t n = send(client, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return;
      sent += size_t(n);
    }
    while (stall && !quit_) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    shutdown(client, SHUT_WR);
    char rest[256];  // until the client has closed: closing first could discard what it has not read yet
    while (readable(client) && recv(client, rest, sizeof rest, 0) > 0) {
    }
  }

  int listener_ = -1, port_ = 0;
  std::atomic<bool> quit_ = false;
  std::mutex mutex_;
  std::vector<std::string> requests_;
  std::thread thread_;
};
