//! One instruction of a Dockerfile, as data.

/// What an instruction does. The reference is Docker's "Dockerfile reference".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyword {
    /// Adds files, archives and URLs.
    Add,
    /// Declares a variable of the build.
    Arg,
    /// Sets the default command.
    Cmd,
    /// Copies files of the context or of another stage.
    Copy,
    /// Sets the program to execute.
    Entrypoint,
    /// Sets a variable of the container.
    Env,
    /// Says which ports the program listens on.
    Expose,
    /// Begins a stage.
    From,
    /// Says how to find out whether the container works.
    Healthcheck,
    /// Adds metadata.
    Label,
    /// Names the author; deprecated by Docker.
    Maintainer,
    /// Runs when the image is built upon.
    Onbuild,
    /// Runs a command in the image.
    Run,
    /// Sets the shell of the shell form.
    Shell,
    /// Sets the signal that stops the container.
    Stopsignal,
    /// Sets user and group.
    User,
    /// Declares a mount point.
    Volume,
    /// Sets the working directory.
    Workdir,
}

impl Keyword {
    /// Reads a keyword; upper and lower case are the same.
    pub fn read(word: &str) -> Option<Self> {
        let keyword = match word.to_ascii_uppercase().as_str() {
            "ADD" => Self::Add,
            "ARG" => Self::Arg,
            "CMD" => Self::Cmd,
            "COPY" => Self::Copy,
            "ENTRYPOINT" => Self::Entrypoint,
            "ENV" => Self::Env,
            "EXPOSE" => Self::Expose,
            "FROM" => Self::From,
            "HEALTHCHECK" => Self::Healthcheck,
            "LABEL" => Self::Label,
            "MAINTAINER" => Self::Maintainer,
            "ONBUILD" => Self::Onbuild,
            "RUN" => Self::Run,
            "SHELL" => Self::Shell,
            "STOPSIGNAL" => Self::Stopsignal,
            "USER" => Self::User,
            "VOLUME" => Self::Volume,
            "WORKDIR" => Self::Workdir,
            _ => return None,
        };
        Some(keyword)
    }
}

/// What follows the keyword and its flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arguments {
    /// The exec form, `["a", "b"]`.
    Exec(Vec<String>),
    /// The rest of the line as it was written, continuations joined.
    Text(String),
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub keyword: Keyword,
    /// `--name=value` and `--name`, in order; the value of the latter is empty.
    pub flags: Vec<(String, String)>,
    /// What follows.
    pub arguments: Arguments,
    /// The line it begins on, from 1.
    pub line: usize,
}

impl Instruction {
    /// The words of the arguments, split at white space.
    pub fn words(&self) -> Vec<&str> {
        match &self.arguments {
            Arguments::Exec(words) => words.iter().map(String::as_str).collect(),
            Arguments::Text(text) => text.split_whitespace().collect(),
        }
    }

    /// The value of a flag.
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(flag, _)| flag == name).map(|(_, value)| value.as_str())
    }
}
