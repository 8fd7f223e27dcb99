//! `ctl dev`: one controller and one agent as ordinary processes with a private
//! data directory. It is production with one node: nothing here but starting,
//! waiting, and stopping.

mod layout;
mod preflight;
mod program;
mod reset;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use proto::v1::{CreateJoinTokenRequest, GetClusterRequest, GetNodeRequest, ListNodesRequest, node};

use crate::client::{self, Control};
use crate::context::{self, Config, Context};
use crate::error::{CommandError, Kind};
use crate::output;
use layout::Layout;
use program::Program;

/// Everything must be ready within this time, or the user hears what is wrong.
const READY_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(25);

/// Start a one-node cluster on this machine and keep it until Ctrl-C
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the cluster keeps its data
    #[arg(long, value_name = "DIR", default_value = "/var/lib/roadstead/dev")]
    data_dir: std::path::PathBuf,
    /// Begin with an empty data directory
    #[arg(long)]
    reset: bool,
    /// Deploy the embedded demo service
    #[arg(long)]
    demo: bool,
    /// Port of the demo service
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    demo_port: u16,
    /// Where the controller listens
    #[arg(long, default_value = "127.0.0.1:7443", value_name = "ADDRESS")]
    controller: std::net::SocketAddr,
    /// Where the agent listens
    #[arg(long, default_value = "127.0.0.1:7444", value_name = "ADDRESS")]
    agent: std::net::SocketAddr,
    /// Addresses of the containers
    #[arg(long, default_value = "10.213.0.0/16", value_name = "CIDR")]
    subnet: String,
    /// Reach this registry over plain HTTP
    #[arg(long, value_name = "HOST:PORT")]
    insecure_registry: Vec<String>,
}

/// Starts the cluster, waits for Ctrl-C, stops the cluster.
///
/// # Errors
/// With what is wrong and what to do, within ten seconds.
pub async fn run(args: Args) -> Result<ExitCode, CommandError> {
    let started = Instant::now();
    let layout = Layout::new(&args.data_dir)?;
    preflight::check(&args, &layout)?;
    if args.reset {
        reset::reset(&layout)?;
    }
    layout.create()?;
    // From here on Ctrl-C must stop what was started, so it is listened to first.
    let mut stop = Stop::listen()?;
    let mut controller = Program::spawn(&layout, "controller", controller_arguments(&args, &layout))?;
    let outcome = tokio::select! {
        outcome = bring_up(&args, &layout, &mut controller) => outcome,
        () = stop.asked() => Err(CommandError::new(Kind::Environment, "stopped before the cluster was ready")),
    };
    let (mut agent, mut control) = match outcome {
        Ok(parts) => parts,
        Err(error) => {
            controller.stop().await;
            return Err(error);
        }
    };
    let outcome = serve(&args, started, &mut control, &mut agent, &mut controller, &mut stop).await;
    output::note("stopping the containers, the agent and the controller ...");
    agent.stop().await;
    controller.stop().await;
    output::note(&format!("stopped; the data stays in {}", layout.root.display()));
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Everything between "ready" and the end.
async fn serve(
    args: &Args,
    started: Instant,
    control: &mut Control,
    agent: &mut Program,
    controller: &mut Program,
    stop: &mut Stop,
) -> Result<(), CommandError> {
    output::note(&format!("the cluster is ready ({:.1}s)", started.elapsed().as_secs_f32()));
    let demo = async {
        if args.demo {
            crate::cmd::service::start_demo(control, args.demo_port.into()).await?;
            output::line(&format!("http://localhost:{}", args.demo_port));
        }
        Ok::<_, CommandError>(())
    };
    tokio::select! {
        outcome = demo => outcome?,
        () = stop.asked() => return Ok(()),
    }
    output::note(&welcome(args));
    loop {
        tokio::select! {
            () = stop.asked() => return Ok(()),
            ended = agent.ended() => agent.revive(ended)?,
            ended = controller.ended() => controller.revive(ended)?,
        }
    }
}

fn welcome(args: &Args) -> String {
    // As this program was called: it need not be on the PATH.
    let ctl = std::env::args().next().unwrap_or_else(|| "ctl".to_owned());
    let first = if args.demo {
        format!(
            "  curl localhost:{}   # answered by one of three tasks\n  {ctl} service scale hello=10",
            args.demo_port
        )
    } else {
        format!(
            "  {ctl} service create --name web --replicas 3 --publish 8080:80 roadstead/hello\n  curl localhost:8080"
        )
    };
    format!(
        "\nTry, in another terminal:\n{first}\n  {ctl} service ls\n  {ctl} node ls\n\nCtrl-C stops the cluster and keeps its data."
    )
}

async fn bring_up(
    args: &Args,
    layout: &Layout,
    controller: &mut Program,
) -> Result<(Program, Control), CommandError> {
    let deadline = Instant::now() + READY_WITHIN;
    let context = Context {
        controllers: vec![args.controller.to_string()],
        root: layout.admin("root.pem"),
        cert: layout.admin("cert.pem"),
        key: layout.admin("key.pem"),
        agent: Some(layout.agent_socket()),
    };
    let mut control = wait_for_controller(&context, controller, deadline).await?;
    let token = match layout.joined() {
        true => None,
        false => {
            let request = CreateJoinTokenRequest { role: "agent".into(), ttl_seconds: 600 };
            Some(control.create_join_token(request).await?.into_inner().token)
        }
    };
    let mut agent = Program::spawn(layout, "agent", agent_arguments(args, layout, token))?;
    if let Err(error) = wait_for_node(&context, &mut control, &mut agent, deadline).await {
        agent.stop().await;
        return Err(error);
    }
    remember(&context)?;
    Ok((agent, control))
}

fn controller_arguments(args: &Args, layout: &Layout) -> Vec<String> {
    vec![
        "--data-dir".into(),
        layout.controller().display().to_string(),
        "--listen".into(),
        args.controller.to_string(),
        "--exit-with-stdin".into(),
    ]
}

fn agent_arguments(args: &Args, layout: &Layout, token: Option<String>) -> Vec<String> {
    let mut line = vec![
        "--data-dir".into(),
        layout.agent().display().to_string(),
        "--run-dir".into(),
        layout.run().display().to_string(),
        "--listen".into(),
        args.agent.to_string(),
        "--advertise".into(),
        args.agent.to_string(),
        "--subnet".into(),
        args.subnet.clone(),
        "--join".into(),
        args.controller.to_string(),
        "--stop-containers-on-exit".into(),
        "--exit-with-stdin".into(),
    ];
    if let Some(token) = token {
        line.extend(["--token".into(), token]);
    }
    for registry in &args.insecure_registry {
        line.extend(["--insecure-registry".into(), registry.clone()]);
    }
    line
}

async fn wait_for_controller(
    context: &Context,
    controller: &mut Program,
    deadline: Instant,
) -> Result<Control, CommandError> {
    loop {
        let attempt = async {
            let mut control = client::control(context).await?;
            control.get_cluster(GetClusterRequest {}).await?;
            Ok::<_, CommandError>(control)
        };
        if let Some(error) = controller.failure() {
            return Err(error);
        }
        match attempt.await {
            Ok(control) => return Ok(control),
            Err(error) if Instant::now() > deadline => return Err(controller.late(&error)),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

async fn wait_for_node(
    context: &Context,
    control: &mut Control,
    agent: &mut Program,
    deadline: Instant,
) -> Result<(), CommandError> {
    loop {
        if let Some(error) = agent.failure() {
            return Err(error);
        }
        let nodes = control.list_nodes(ListNodesRequest {}).await?.into_inner().nodes;
        let is_ready = nodes.iter().any(|node| node.status == node::Status::Ready as i32);
        // The controller may remember the node of an earlier run, so the agent is asked too.
        if is_ready && in_session(context).await {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(agent.late(&CommandError::internal("the agent has not joined the cluster")));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether the agent says that it is in session with the controller.
async fn in_session(context: &Context) -> bool {
    let Some(socket) = &context.agent else { return false };
    let Ok(host) = client::agent(socket).await else { return false };
    let mut agent = client::Node::new(host);
    agent.get_node(GetNodeRequest {}).await.is_ok_and(|answer| answer.into_inner().session)
}

/// Makes the new cluster the current context of this user.
fn remember(context: &Context) -> Result<(), CommandError> {
    let path = context::path()?;
    let mut config = Config::load(&path)?;
    config.contexts.insert("dev".into(), context.clone());
    config.current = "dev".into();
    config.save(&path)
}

/// The user's wish to end it: Ctrl-C, SIGTERM, or a closed terminal.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> Result<Self, CommandError> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind).map_err(|error| CommandError::internal(format!("cannot wait for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
