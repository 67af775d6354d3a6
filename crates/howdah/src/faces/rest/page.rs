//! A page for people who open the address in a browser: what there is, and how to call it. Self-contained: no script, no
//! font, no picture from elsewhere.

use std::fmt::Write;

use axum::body::Body;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::http::{HeaderValue, Response, StatusCode};

use super::paths::{PAGE, scope_words};
use crate::faces::http::answer;
use crate::skills::Skill;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#1b1b1f;background:#fff}code,pre{font:14px/1.5 ui-monospace,monospace;background:#f2f2f5;border-radius:4px;\
padding:.1rem .3rem}pre{padding:.8rem;overflow-x:auto}h2{margin-top:2.2rem;border-bottom:1px solid #ddd}\
h3{margin-bottom:.2rem}.scope{color:#555}a{color:#0b57d0}\
@media(prefers-color-scheme:dark){body{background:#16161a;color:#e6e6ea}code,pre{background:#26262c}h2{border-color:#444}\
.scope{color:#aaa}a{color:#8ab4f8}}";

/// The page.
pub fn response<C>(skills: &[Skill<C>]) -> Response<Body> {
    let mut response = answer::typed(StatusCode::OK, PAGE, html(skills));
    response.headers_mut().insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    response
}

fn html<C>(skills: &[Skill<C>]) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>Howdah</title><style>{STYLE}</style></head><body>\
         <h1>Howdah {}</h1><p>PostgreSQL as a production vector database. The whole interface is described in \
         <a href=\"/openapi.json\">/openapi.json</a>; how things are stands at <a href=\"/health\">/health</a> and, for a key, \
         <a href=\"/metrics\">/metrics</a>.</p><p>Send a key with each call: <code>Authorization: Bearer hdk_…</code>. \
         Make one with <code>howdah keys create NAME</code>.</p>",
        env!("CARGO_PKG_VERSION")
    );
    for skill in skills {
        section(&mut page, skill);
    }
    page.push_str("</body></html>");
    page
}

fn section<C>(page: &mut String, skill: &Skill<C>) {
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<h2 id=\"{name}\">{name}</h2><p><code>{method} {path}</code></p><p>{description}</p>\
         <p class=\"scope\">{scope}</p>",
        name = skill.name,
        method = skill.route.method,
        path = escape(skill.route.path),
        description = escape(skill.description),
        scope = escape(scope_words(skill.scope)),
    );
    for example in skill.examples {
        let _ = write!(
            page,
            "<h3>{}</h3><pre>{}\n$ {}</pre>",
            escape(example.title),
            escape(example.input),
            escape(example.command)
        );
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
