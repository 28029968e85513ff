/** Judges faces: the network that export.py wrote, calibrated and with its preprocessing inside. */

import { type NetworkFacts, readFacts } from "./facts";
import { breathe, openNetwork, type Session, Tensor } from "./runtime";

export interface Judgement {
  /** One for each class, in the order of the classes; they sum to 1. */
  probabilities: Float32Array;
  /** Where the evidence for each class lies, row by row; none where the network gives no maps. */
  maps: ActivationMaps | null;
}

export interface ActivationMaps {
  width: number;
  height: number;
  /** classes × height × width numbers. */
  values: Float32Array;
}

const AT_ONCE = 4; // faces in one pass: more take no less time each, and longer until the page answers

export class Classifier {
  private constructor(
    readonly facts: NetworkFacts,
    private readonly session: Session,
  ) {}

  /** @throws Error with one sentence for people where `file` is not a network that fits this page. */
  static async open(file: Uint8Array, name: string): Promise<Classifier> {
    const facts = readFacts(file, name);
    let session: Session;
    try {
      session = await openNetwork(file);
    } catch (error) {
      throw new Error(`${name} cannot be run: ${error instanceof Error ? error.message : error}`);
    }
    const classifier = new Classifier(facts, session);
    await classifier.tryOut(name).catch(async (error) => {
      await classifier.close();
      throw error;
    });
    return classifier;
  }

  /** Judges a blank face, to see whether the network is what its file says. */
  private async tryOut(name: string): Promise<void> {
    const { channels, imageSize, classes, hasMaps } = this.facts;
    const { inputNames, outputNames } = this.session;
    const missing = ["probabilities", ...(hasMaps ? ["cam"] : [])].filter((output) => !outputNames.includes(output));
    if (missing.length || inputNames.join() !== "pixels") {
      throw new Error(`${name} does not turn "pixels" into "${missing[0] ?? "probabilities"}"; make it with export.py`);
    }
    const said = `${name} says that it takes ${channels} × ${imageSize} × ${imageSize} numbers`;
    const input = { pixels: this.tensor([new Float32Array(channels * imageSize ** 2)]) };
    const given = await this.session.run(input, ["probabilities"]).catch(() => {
      throw new Error(`${said}; its graph takes others`);
    });
    const { dims } = given.probabilities;
    if (dims.length !== 2 || dims[1] !== classes.length) {
      throw new Error(`${name} names ${classes.length} classes; its graph gives ${dims.slice(1).join(" × ")}`);
    }
  }

  /** @param faces - each channels × size × size numbers from 0 to 255. */
  async judge(faces: Float32Array[]): Promise<Judgement[]> {
    const judged: Judgement[] = [];
    for (let start = 0; start < faces.length; start += AT_ONCE) {
      judged.push(...(await this.pass(faces.slice(start, start + AT_ONCE))));
      await breathe();
    }
    return judged;
  }

  close(): Promise<void> {
    return this.session.release();
  }

  private async pass(faces: Float32Array[]): Promise<Judgement[]> {
    const { classes, hasMaps } = this.facts;
    const wanted = hasMaps ? ["probabilities", "cam"] : ["probabilities"];
    const { probabilities, cam } = await this.session.run({ pixels: this.tensor(faces) }, wanted);
    const rows = probabilities.data as Float32Array;
    return faces.map((_, i) => ({
      probabilities: rows.slice(i * classes.length, (i + 1) * classes.length),
      maps: cam ? mapsOf(cam.data as Float32Array, cam.dims, i) : null,
    }));
  }

  private tensor(faces: Float32Array[]): Tensor {
    const { channels, imageSize } = this.facts;
    const each = channels * imageSize * imageSize;
    const pixels = new Float32Array(faces.length * each);
    for (const [i, face] of faces.entries()) pixels.set(face, i * each);
    return new Tensor("float32", pixels, [faces.length, channels, imageSize, imageSize]);
  }
}

function mapsOf(values: Float32Array, [, classes, height, width]: readonly number[], face: number): ActivationMaps {
  const each = classes * height * width;
  return { width, height, values: values.slice(face * each, (face + 1) * each) };
}
