//! Shows each step and each call as a person would type it, makes the very call that it shows,
//! and shows what came back. Keys and passwords are shown as shell variables.

use anyhow::{Result, ensure};
use harness::claim::eventually;
use harness::services::Drayage;
use reqwest::Method;
use serde_json::Value;

/// Counts the steps.
#[derive(Debug, Default)]
pub(crate) struct Narrator {
    number: usize,
    title: &'static str,
}

/// A key and the shell variable that stands for it.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) variable: &'static str,
    pub(crate) value: &'a str,
}

impl Narrator {
    /// Begins the next step.
    pub(crate) fn next(&mut self, title: &'static str) {
        self.number += 1;
        self.title = title;
        println!("\n{}. {title}", self.number);
    }

    /// The step that is being taken.
    pub(crate) fn step(&self) -> String {
        format!("step {}: {}", self.number, self.title)
    }

    /// A call of the API that is to be shown and made.
    pub(crate) fn call<'a>(
        &self,
        drayage: &'a Drayage,
        key: Key<'a>,
        method: Method,
        path: &'a str,
    ) -> Call<'a> {
        Call { drayage, key, method, path, hidden: None, elided: None }
    }
}

/// A call in the making.
pub(crate) struct Call<'a> {
    drayage: &'a Drayage,
    key: Key<'a>,
    method: Method,
    path: &'a str,
    /// A shell variable and the password for which it stands in the body.
    hidden: Option<(&'static str, &'a str)>,
    /// A place in the answer and the shell variable that stands for what is there.
    elided: Option<(&'static str, &'static str)>,
}

impl<'a> Call<'a> {
    /// Shows a variable in the place of a password of the body.
    pub(crate) fn hide(self, variable: &'static str, password: &'a str) -> Self {
        Self { hidden: Some((variable, password)), ..self }
    }

    /// Shows a variable in the place of a secret of the answer.
    pub(crate) fn elide(self, pointer: &'static str, variable: &'static str) -> Self {
        Self { elided: Some((pointer, variable)), ..self }
    }

    /// Shows it, makes it, shows what came back.
    pub(crate) async fn send(self, body: Option<&Value>) -> Result<Value> {
        self.show(body);
        let answer = self.ask(body).await?;
        self.show_answer(&answer)?;
        Ok(answer)
    }

    /// Shows it, makes it until the answer is as expected, and shows that one.
    pub(crate) async fn until(self, expected: impl Fn(&Value) -> bool) -> Result<()> {
        self.show(None);
        let answer = eventually("the expected answer", async || {
            let answer = self.ask(None).await?;
            ensure!(expected(&answer), "{answer}");
            Ok(answer)
        });
        self.show_answer(&answer.await?)
    }

    async fn ask(&self, body: Option<&Value>) -> Result<Value> {
        let answer = self.drayage.call(self.method.clone(), self.path, self.key.value, body).await?;
        ensure!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.text);
        Ok(answer.json())
    }

    fn show(&self, body: Option<&Value>) {
        let method = if self.method == Method::GET { String::new() } else { format!(" -X {}", self.method) };
        println!("$ curl -s{method} \"$API{}\" \\", self.path);
        print!("    -H \"Authorization: Simple ${}\"", self.key.variable);
        let Some(body) = body else { return println!() };
        let mut body = body.to_string();
        if let Some((variable, password)) = self.hidden {
            // Closes the single quotes, so that the shell puts the variable's value there.
            body = body.replace(password, &format!("'\"{variable}\"'"));
        }
        println!(" -H 'Content-Type: application/json' \\\n    -d '{body}'");
    }

    fn show_answer(&self, answer: &Value) -> Result<()> {
        let mut shown = answer.clone();
        if let Some((pointer, variable)) = self.elided
            && let Some(place) = shown.pointer_mut(pointer)
        {
            *place = variable.into();
        }
        println!("{}", serde_json::to_string_pretty(&shown)?);
        Ok(())
    }
}
