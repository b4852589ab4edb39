(* Minimisers, minima, and when two optimisation problems are the same.

   A problem is a feasible set and an objective with values in an ordered
   field (separation needs no more than an ordered domain). Two problems are
   strongly equivalent when there are maps both ways that keep feasible points
   feasible and do not raise the objective. Then minimisers go to minimisers,
   minimal values agree, and so do all lower bounds, attained or not. *)
From mathcomp Require Import all_ssreflect all_algebra.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Problems.
Variable R : realDomainType.

(* x minimises f over the set C *)
Definition argmin (T : Type) (C : T -> Prop) (f : T -> R) (x : T) : Prop :=
  C x /\ forall y, C y -> f x <= f y.

(* no constraint *)
Definition free (T : Type) (_ : T) : Prop := True.

(* v is the attained minimum of f *)
Definition is_min (T : Type) (f : T -> R) (v : R) : Prop :=
  (exists x, f x = v) /\ forall x, v <= f x.

(* b is a lower bound of f over C *)
Definition lower (T : Type) (C : T -> Prop) (f : T -> R) (b : R) : Prop :=
  forall x, C x -> b <= f x.

Record equivalent (T U : Type) (C : T -> Prop) (f : T -> R)
    (D : U -> Prop) (g : U -> R) (to : T -> U) (back : U -> T) : Prop :=
  Equivalent {
    to_feasible : forall x, C x -> D (to x);
    to_value : forall x, C x -> g (to x) <= f x;
    back_feasible : forall y, D y -> C (back y);
    back_value : forall y, D y -> f (back y) <= g y }.

Section Consequences.
Variables (T U : Type) (C : T -> Prop) (f : T -> R) (D : U -> Prop) (g : U -> R).
Variables (to : T -> U) (back : U -> T).

Theorem equivalent_sym :
  equivalent C f D g to back -> equivalent D g C f back to.
Proof. by case=> *; split. Qed.

Theorem equivalent_argmin (e : equivalent C f D g to back) x :
  argmin C f x -> argmin D g (to x) /\ g (to x) = f x.
Proof.
case: e => tC tf bD bf [Cx hx].
have E y : D y -> f x <= g y.
  by move=> Dy; apply: le_trans (bf _ Dy); apply/hx/bD.
split; first by split=> [|y Dy]; [exact: tC | apply: le_trans (tf _ Cx) (E _ Dy)].
by apply/eqP; rewrite eq_le tf ?E //; apply: tC.
Qed.

Theorem equivalent_lower (e : equivalent C f D g to back) b :
  lower C f b <-> lower D g b.
Proof.
case: e => tC tf bD bf; split=> h x hx.
- by apply: le_trans (bf _ hx); apply/h/bD.
- by apply: le_trans (tf _ hx); apply/h/tC.
Qed.

End Consequences.

Theorem equivalent_refl (T : Type) (C : T -> Prop) (f : T -> R) :
  equivalent C f C f id id.
Proof. by split. Qed.

Theorem equivalent_trans (T U V : Type) (C : T -> Prop) (f : T -> R)
    (D : U -> Prop) (g : U -> R) (H : V -> Prop) (k : V -> R) to back to' back' :
  equivalent C f D g to back -> equivalent D g H k to' back' ->
  equivalent C f H k (to' \o to) (back \o back').
Proof.
case=> a b c d [a' b' c' d']; split=> /= x hx.
- exact/a'/a.
- by apply: le_trans (b _ hx); apply/b'/a.
- exact/c/c'.
- by apply: le_trans (d' _ hx); apply/d/c'.
Qed.

(* a pointwise equal objective on the same set has the same minimisers *)
Lemma argmin_ext (T : Type) (C : T -> Prop) (f g : T -> R) x :
  (forall y, C y -> f y = g y) -> argmin C f x <-> argmin C g x.
Proof.
move=> e; split=> -[Cx h]; split=> // y Cy.
- by rewrite -!e //; apply: h.
- by rewrite !e //; apply: h.
Qed.

Lemma is_min_unique (T : Type) (f : T -> R) v v' : is_min f v -> is_min f v' -> v = v'.
Proof.
move=> [[x <-] h] [[y <-] h']; apply/eqP; rewrite eq_le.
by rewrite h h'.
Qed.

Lemma is_minP (T : Type) (f : T -> R) x : is_min f (f x) <-> argmin (@free T) f x.
Proof. by split=> [[_ h]|[_ h]]; split=> // [|y]; [exists x | apply: h]. Qed.

(* multiplying by c > 0 and adding a constant keeps the minimisers *)
Theorem argmin_affine (T : Type) (C : T -> Prop) (f : T -> R) (c d : R) x :
  0 < c -> argmin C (fun y => c * f y + d) x <-> argmin C f x.
Proof.
move=> c0; split=> -[Cx h]; split=> // y Cy.
- by have:= h _ Cy; rewrite ler_add2r ler_pmul2l.
- by rewrite ler_add2r ler_pmul2l //; apply: h.
Qed.

End Problems.
