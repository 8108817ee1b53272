//! Who may ask: one access token, in a cookie for people and in a header for programs.
//!
//! The token is made at the first start and kept in the data folder, readable by its owner alone.
//! The link that `watchpost` prints carries it once, to `/login`, which moves it into a cookie that
//! scripts cannot read and other sites cannot post with, and leads on to an address without it, so that
//! it stays out of history and logs. Comparison takes the same time whatever is offered.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use crate::AppState;
use crate::server::is_for_programs;

const COOKIE: &str = "watchpost_token";

/// The secret that opens the API and the pages.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// A token from its text.
    pub fn new(text: &str) -> Self {
        Token(text.into())
    }

    /// The text, for the link that is printed.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this text is the token; takes the same time for every text of its length.
    pub fn is(&self, offered: &str) -> bool {
        self.0.as_bytes().ct_eq(offered.as_bytes()).into()
    }
}

impl std::fmt::Debug for Token {
    /// Never shows the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Lets a request pass that carries the token. Programs get 401, people a page that says where the
/// link is printed.
pub(crate) async fn require_token(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    if offered(request.headers()).any(|text| state.token.is(&text)) {
        return next.run(request).await;
    }
    if is_for_programs(request.uri()) {
        let body = serde_json::json!({
            "error": "an access token is needed",
            "help": "send `Authorization: Bearer TOKEN`; the token is in the file `token` of the data folder",
        });
        let mut response = (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    crate::pages::message(
        StatusCode::UNAUTHORIZED,
        "Sign in",
        "Open the link that `watchpost` printed when it started: it carries the access token. \
         The token is also in the file `token` of the data folder; the link is \
         /login?token=TOKEN.",
    )
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = Cow<'_, str>> {
    let authorized = headers
        .get_all(header::AUTHORIZATION)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .filter_map(|value| value.split_once(' '))
        .flat_map(|(scheme, value)| secrets(scheme, value));
    let cookie = headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE)
        .map(|(_, value)| Cow::Borrowed(value));
    authorized.chain(cookie)
}

/// What a program may mean by its secret: `Bearer` and `ApiKey` have it as it is; `Basic`, and the
/// `ApiKey` of Elasticsearch's clients, behind a name, of which none is asked.
fn secrets<'h>(scheme: &str, value: &'h str) -> Vec<Cow<'h, str>> {
    let behind_name = || {
        let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
        text.split_once(':').map(|(_, secret)| Cow::Owned(secret.to_owned()))
    };
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => vec![Cow::Borrowed(value)],
        "basic" => behind_name().into_iter().collect(),
        "apikey" => behind_name().into_iter().chain([Cow::Borrowed(value)]).collect(),
        _ => Vec::new(),
    }
}

#[derive(Deserialize)]
pub(crate) struct Login {
    #[serde(default)]
    token: String,
    #[serde(default)]
    next: String,
}

/// `/login?token=T&next=/alerts`: sets the cookie and leads on.
pub(crate) async fn login(State(state): State<AppState>, Query(login): Query<Login>) -> Response {
    if !state.token.is(&login.token) {
        return crate::pages::message(
            StatusCode::UNAUTHORIZED,
            "Sign in",
            "This token is not the one of this server. It may have been restarted with another \
             data folder; use the link that it printed last.",
        );
    }
    // Only paths of this server: `//host` and `/\host` would lead elsewhere, and so would `/` TAB
    // `/host`, from which browsers take the tab. Nothing that controls is in our paths.
    let local = login.next.starts_with('/')
        && !login.next.starts_with("//")
        && !login.next.contains(|letter: char| letter == '\\' || letter.is_control());
    let next = if local { login.next.as_str() } else { "/alerts" };
    // Lax, so that a link to an alert works from a ticket or a chat: other sites can make a browser
    // open pages, which change nothing, but neither read them nor post in its name.
    let cookie =
        format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000", login.token);
    let mut response = Redirect::to(next).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Headers that every answer carries: nothing from elsewhere runs or frames our pages, and no
/// address leaks to other sites.
pub(crate) async fn protect(request: Request, next: Next) -> Response {
    const HEADERS: [(header::HeaderName, &str); 5] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
             connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_compared_whole_and_never_shown() {
        let token = Token::new("abc123");
        assert!(token.is("abc123"));
        for wrong in ["", "abc12", "abc1234", "ABC123"] {
            assert!(!token.is(wrong), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn tokens_come_from_either_header() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; watchpost_token=one"));
        headers.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer two"));
        let offers = |headers: &HeaderMap| offered(headers).collect::<Vec<_>>().join(" ");
        assert_eq!(offers(&headers), "two one");
        // `user:three`, as Grafana and Python's client send it.
        for (value, wanted) in [
            ("Basic dXNlcjp0aHJlZQ==", "three"),
            ("ApiKey dXNlcjp0aHJlZQ==", "three dXNlcjp0aHJlZQ=="),
            ("ApiKey three", "three"),
            ("Basic three", ""),
            ("Digest three", ""),
        ] {
            let value = HeaderValue::from_static(value);
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
            assert_eq!(offers(&headers), wanted);
        }
    }
}
