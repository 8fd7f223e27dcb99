//! The gRPC service `ContainerFiles`: messages to and from the engine's copies. Nothing is decided here.

use agent_engine::files::{Change, ChangeKind, Copied, CopyStep, FileInfo};
use agent_engine::{CommitOptions, CopySteps};
use futures::StreamExt;
use proto::v1;
use proto::v1::container_files_server::ContainerFiles;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use super::{Answers, Api, traced};
use crate::error;

/// Changes in one message.
const CHANGES: usize = 500;

/// Pieces of an archive that wait for the container.
const PIECES: usize = 4;

#[tonic::async_trait]
impl ContainerFiles for Api {
    async fn stat_file(
        &self,
        request: Request<v1::StatFileRequest>,
    ) -> Result<Response<v1::StatFileResponse>, Status> {
        traced("StatFile", request, async |request| {
            let found = self.engine.stat_file(&request.container, request.path, request.follow).await;
            let found = found.map_err(|fault| error::engine(&fault))?;
            Ok(v1::StatFileResponse { file: Some(info(found)) })
        })
        .await
    }

    type ReadFilesStream = Answers<v1::ReadFilesResponse>;

    async fn read_files(
        &self,
        request: Request<v1::ReadFilesRequest>,
    ) -> Result<Response<Self::ReadFilesStream>, Status> {
        traced("ReadFiles", request, async |request| {
            let v1::ReadFilesRequest { container, path, follow, name } = request;
            answers(self.engine.read_files(&container, path, follow, name))
        })
        .await
    }

    async fn write_files(
        &self,
        request: Request<Streaming<v1::WriteFilesRequest>>,
    ) -> Result<Response<v1::WriteFilesResponse>, Status> {
        traced("WriteFiles", request, async |requests| write(self, requests).await).await
    }

    type ExportContainerStream = Answers<v1::ReadFilesResponse>;

    async fn export_container(
        &self,
        request: Request<v1::ExportContainerRequest>,
    ) -> Result<Response<Self::ExportContainerStream>, Status> {
        traced("ExportContainer", request, async |request| answers(self.engine.export(&request.container)))
            .await
    }

    type ListChangesStream = Answers<v1::ListChangesResponse>;

    async fn list_changes(
        &self,
        request: Request<v1::ListChangesRequest>,
    ) -> Result<Response<Self::ListChangesStream>, Status> {
        traced("ListChanges", request, async |request| {
            let changes = self.engine.changes(&request.container).await;
            let changes = changes.map_err(|fault| error::engine(&fault))?;
            let messages = futures::stream::iter(changes.into_iter().map(change)).chunks(CHANGES);
            let messages = messages.map(|changes| Ok(v1::ListChangesResponse { changes }));
            Ok(Box::pin(messages) as Self::ListChangesStream)
        })
        .await
    }

    async fn commit_container(
        &self,
        request: Request<v1::CommitContainerRequest>,
    ) -> Result<Response<v1::CommitContainerResponse>, Status> {
        traced("CommitContainer", request, async |request| {
            let options = CommitOptions {
                image: super::image::reference(&request.image)?,
                author: request.author,
                comment: request.comment,
                changes: request.changes,
                pause: !request.no_pause,
            };
            let image = self.engine.commit(&request.container, options).await;
            let image = image.map_err(|fault| error::engine(&fault))?;
            Ok(v1::CommitContainerResponse { image_digest: image.to_string() })
        })
        .await
    }
}

fn answers(
    steps: Result<CopySteps, agent_engine::EngineError>,
) -> Result<Answers<v1::ReadFilesResponse>, Status> {
    let steps = ReceiverStream::new(steps.map_err(|fault| error::engine(&fault))?);
    Ok(Box::pin(steps.map(|step| step.map(message).map_err(|fault| error::engine(&fault)))))
}

fn message(step: CopyStep) -> v1::ReadFilesResponse {
    use v1::read_files_response::Message;
    let message = match step {
        CopyStep::Info(found) => Message::File(info(found)),
        CopyStep::Data(data) => Message::Archive(data.to_vec()),
        CopyStep::Done(done) => Message::Done(copied(done)),
    };
    v1::ReadFilesResponse { message: Some(message) }
}

async fn write(
    api: &Api,
    mut requests: Streaming<v1::WriteFilesRequest>,
) -> Result<v1::WriteFilesResponse, Status> {
    use v1::write_files_request::Message;
    let first = requests.message().await?.and_then(|request| request.message);
    let Some(Message::Open(open)) = first else {
        return Err(error::invalid_field("open", "must be the first message"));
    };
    let (pieces, archive) = mpsc::channel(PIECES);
    let feed = async move {
        loop {
            let piece = match requests.message().await.ok().flatten().and_then(|request| request.message) {
                Some(Message::Archive(data)) => Some(data.into()),
                Some(Message::Complete(true)) => return,
                // It broke off, or makes no sense: what was sent is not to be taken for a whole archive.
                _ => None,
            };
            let is_broken = piece.is_none();
            if pieces.send(piece).await.is_err() || is_broken {
                return;
            }
        }
    };
    tokio::spawn(feed.in_current_span());
    let written = api.engine.write_files(&open.container, open.path, open.keep_owners, archive).await;
    let written = written.map_err(|fault| error::engine(&fault))?;
    Ok(v1::WriteFilesResponse { copied: Some(copied(written)) })
}

fn info(found: FileInfo) -> v1::FileInfo {
    v1::FileInfo {
        name: found.name,
        mode: found.mode,
        size: found.size,
        mtime_seconds: found.mtime.0,
        mtime_nanoseconds: found.mtime.1,
        link: found.link,
    }
}

fn copied(copied: Copied) -> v1::Copied {
    v1::Copied { entries: copied.entries, bytes: copied.bytes, notes: copied.notes }
}

fn change(change: Change) -> v1::FileChange {
    use v1::file_change::Kind;
    let kind = match change.kind {
        ChangeKind::Added => Kind::Added,
        ChangeKind::Changed => Kind::Changed,
        ChangeKind::Deleted => Kind::Deleted,
    };
    v1::FileChange { path: change.path, kind: kind.into() }
}
